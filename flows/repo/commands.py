"""DVC and Python as child processes, with one-line errors."""

import re
import subprocess
import sys
from pathlib import Path

FAULT = re.compile(r"(fatal|error|ERROR): |! \[")  # the latter of a reference that was not taken
DVC_SUPPORT = "Having any troubles?"  # the last line of each of DVC's errors
MAX_LINES = 10  # of an error, as a remote that is away has one for each file


def run(root: Path, *command: str, limit_seconds: float | None = None, fault: str = "") -> str:
    """Run DVC or Python in a checkout.

    Raises
    ------
    RuntimeError
        With its errors, if it fails, takes longer than its limit, or warns with the words of `fault`.
    """
    shown = " ".join(command[2:] if command[0] == sys.executable else command)
    try:
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=limit_seconds,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"`{shown}` must end within {limit_seconds:.0f} s; it did not, and was ended") from None
    if done.returncode:
        raise RuntimeError(failure(root, shown, done.returncode, done.stderr or done.stdout))
    if fault and fault in done.stderr:
        raise RuntimeError(f"`{shown}` must end without a warning in {root.absolute()}; it said: {fault}")
    return done.stdout


def failure(root: Path, command: str, status: int, stderr: str) -> str:
    """Describe a failed git or DVC command in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and DVC_SUPPORT not in line]
    first = next((n for n, line in enumerate(lines) if FAULT.match(line)), max(len(lines) - 1, 0))
    errors = "; ".join(lines[first:][:MAX_LINES]).replace(":; ", ": ") or "no output"
    return f"`{command}` must succeed in {root.absolute()}; it ended with {status}: {redact(errors)}"


def redact(text: str) -> str:
    """Remove passwords and tokens from addresses: user information and queries."""
    text = re.sub(r"(?<=://)[^\s/'\"]+@", "", text)
    return re.sub(r"(://[^\s'\"?]*)\?[^\s'\"]*", r"\1", text)
