"""DVC and Python as child processes, with one-line errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows.repo.git import failure


def run(root: Path, *command: str, limit_seconds: float | None = None, fault: str = "") -> str:
    """Run DVC or Python in a checkout.

    Parameters
    ----------
    fault : str
        Words in a warning that mean a failure, though the command ends well.

    Raises
    ------
    RuntimeError
        With its errors, if it fails or takes longer than its limit.
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
