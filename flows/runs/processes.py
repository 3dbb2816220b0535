"""`dvc repro` as a child process: output, time limit, end.

DVC leaves the command of a stage running when it is killed, so a child is ended with all its descendants.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from flows.host.resources import Resources
from flows.host.signals import reraise_swallowed_signals

REFUSED = "was refused"  # by a step, for a reason that meets the next run, too
END_SECONDS = 5.0  # for a step to end after SIGTERM, before SIGKILL

_running: set[subprocess.Popen[str]] = set()
shutting_down = threading.Event()  # every run of this process is being ended, and none begins


class StageFailedError(RuntimeError):
    """A stage ended with an error; a `temporary` one may be retried."""

    def __init__(self, message: str, temporary: bool = False):
        super().__init__(message)
        self.temporary = temporary


def repro(
    root: Path,
    name: str,
    limit_seconds: float,
    log: Callable[[str], None],
    options: tuple[str, ...] = (),
    share: Resources | None = None,
) -> list[str]:
    """Run `dvc repro` in a checkout, and return its lines.

    The share limits the child and everything that it starts, its cores where the system can.

    Raises
    ------
    StageFailedError
        If it fails or exceeds its limit; the message ends with its last lines.
    """
    lines: list[str] = []
    process = _start(root, options, share)
    with _supervised(process, limit_seconds) as overdue:
        with reraise_swallowed_signals() as raise_again:
            for line in process.stdout or ():
                if line := line.strip():
                    lines.append(line)
                    log(line)
                    raise_again()  # control: swallowed signal
        status = process.wait()
    if overdue.is_set():
        raise StageFailedError(f"{name}: took longer than its limit of {limit_seconds:,.0f} s and was ended")
    if status:
        ended = {found[1] for line in lines if (found := re.search(r"exited with (\d+)$", line))}
        is_refused = "2" in ended and not any(line.startswith("epoch ") for line in lines)  # before it trained
        raise StageFailedError(f"{name} {REFUSED if is_refused else 'failed'}: {_error_tail(lines)}", "75" in ended)
    return lines


def _start(root: Path, options: tuple[str, ...], share: Resources | None) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "dvc", "--wait-for-lock", "repro", *options],
        cwd=root,
        env={**os.environ, **(share.variables if share else {})},  # which flows/__init__.py has settled
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if share and share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, share.cores)  # before it starts anything: it takes a while to load
    return process


@contextmanager
def _supervised(process: subprocess.Popen[str], limit_seconds: float) -> Iterator[threading.Event]:
    """End a process tree after the block, or at its limit."""
    overdue = threading.Event()

    def end() -> None:
        overdue.set()
        terminate_tree(process)

    watchdog = threading.Timer(limit_seconds, end)
    watchdog.daemon = True
    try:
        _running.add(process)
        watchdog.start()
        if shutting_down.is_set():  # control: end of what is about to begin
            terminate_tree(process)  # it was started while the others were ended
        yield overdue
    finally:
        watchdog.cancel()
        terminate_tree(process)
        _running.discard(process)


def _error_tail(lines: list[str]) -> str:
    """Return the lines from the step's own error on, or DVC's last."""
    first = next((n for n, line in enumerate(lines) if line.startswith("error: ")), len(lines) - 3)
    return "\n".join(lines[max(first, 0) :])


def terminate_tree(process: subprocess.Popen[str]) -> None:
    """Terminate a process tree, children first, so that DVC releases locks."""
    signalled: set[psutil.Process] = set()
    deadline = time.monotonic() + END_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for child in _descendants(process) - signalled:
            with suppress(psutil.NoSuchProcess):
                child.terminate()  # control: end of children
            signalled.add(child)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    if process.poll() is None:
        for running in (*_descendants(process), process):
            with suppress(psutil.NoSuchProcess):
                running.kill()
        process.wait()


def _descendants(process: subprocess.Popen[str]) -> set[psutil.Process]:
    try:
        return set(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def terminate_all() -> None:
    """End every `dvc repro` of this process, and let none begin."""
    shutting_down.set()
    for process in tuple(_running):
        terminate_tree(process)
