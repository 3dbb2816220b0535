"""A child process: its lines, its time limit, the signals that arrive meanwhile, and its end.

A run is `dvc repro`, which leaves the command of a stage running when it is killed. So a child that is cancelled, fails
or takes longer than its limit is ended with everything below it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

END_SECONDS = 5.0  # for a step to end after SIGTERM, before SIGKILL

_running: set[subprocess.Popen[str]] = set()
shutting_down = threading.Event()  # everything that runs here is being ended: nothing further begins


class StageFailedError(RuntimeError):
    """A stage ended with an error; `temporary` says whether it may pass on a retry."""

    def __init__(self, message: str, temporary: bool = False):
        super().__init__(message)
        self.temporary = temporary


@dataclass(frozen=True)
class Checkout:
    """Where a run happens: a checkout of this repository."""

    root: Path
    force: bool = False


def repro(
    checkout: Checkout,
    name: str,
    limit_seconds: float,
    log: Callable[[str], None],
    options: tuple[str, ...] = (),
    cores: frozenset[int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """Run `dvc repro` and give its lines.

    Parameters
    ----------
    name : str
        What is run, for messages.
    cores : set of int, optional
        The cores that it and everything it starts may use, where the system can limit them.
    variables : mapping, optional
        Further environment variables.

    Raises
    ------
    StageFailedError
        If it fails or exceeds its limit; the message ends with its last lines.
    """
    lines: list[str] = []
    force = ["--force"] if checkout.force else []
    command = [sys.executable, "-u", "-m", "dvc", "--wait-for-lock", "repro", *force, *options]
    process = subprocess.Popen(
        command,
        cwd=checkout.root,
        env={**os.environ, **(variables or {})},  # which flows/__init__.py has settled
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    overdue = threading.Event()

    def end_overdue() -> None:
        overdue.set()
        terminate_tree(process)

    watchdog = threading.Timer(limit_seconds, end_overdue)
    watchdog.daemon = True
    try:
        _running.add(process)
        if shutting_down.is_set():  # control: end of what is about to begin
            terminate_tree(process)  # it was started while the others were ended
        watchdog.start()
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, cores)  # before it starts anything: it takes a while to load
        with reraise_swallowed_signals() as raise_again:
            for line in process.stdout or ():
                if line := line.strip():
                    lines.append(line)
                    log(line)
                    raise_again()  # control: swallowed signal
        status = process.wait()
    finally:
        watchdog.cancel()
        terminate_tree(process)
        _running.discard(process)
    if overdue.is_set():
        raise StageFailedError(f"{name}: took longer than its limit of {limit_seconds:,.0f} s and was ended")
    if status:
        temporary = any(re.search(r"exited with 75$", line) for line in lines)
        raise StageFailedError(f"{name} failed: {_error_tail(lines)}", temporary)
    return lines


@contextmanager
def reraise_swallowed_signals() -> Iterator[Callable[[], None]]:
    """A function that raises anew what a signal raised and someone swallowed.

    Ctrl-C or a cancellation that arrives while Prefect's client waits for the server gets lost there.
    """
    received: list[Callable[[], Any]] = []

    def remember(previous: Any) -> Callable[[int, Any], None]:
        def handler(number: int, frame: Any) -> None:
            received.append(lambda: previous(number, frame))
            previous(number, frame)

        return handler

    def raise_again() -> None:
        if received:
            received.pop()()

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(previous := signal.getsignal(number)):
                replaced[number] = signal.signal(number, remember(previous))
    try:
        yield raise_again
    finally:
        for number, previous in replaced.items():
            signal.signal(number, previous)


def _error_tail(lines: list[str]) -> str:
    """The step's own error line and what follows it; DVC's last lines where there is none."""
    first = next((n for n, line in enumerate(lines) if line.startswith("error: ")), len(lines) - 3)
    return "\n".join(line for line in lines[max(first, 0) :])


def terminate_tree(process: subprocess.Popen[str]) -> None:
    """End a child and all that it started: first what is below it, whenever that begins; DVC then frees its locks."""
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + END_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for child in _descendants(process) - told:
            _signal(child.terminate)  # control: end of children
            told.add(child)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    if process.poll() is None:
        for running in (*_descendants(process), process):
            _signal(running.kill)
        process.wait()


def _descendants(process: subprocess.Popen[str]) -> set[psutil.Process]:
    try:
        return set(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def terminate_all() -> None:
    """End every `dvc repro` that this process runs, in whichever thread, and let none begin."""
    shutting_down.set()
    for process in tuple(_running):
        terminate_tree(process)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
