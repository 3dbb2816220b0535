"""Slots: the runs that go side by side on this machine wait for one, each with its share of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.processes import shutting_down
from flows.shares import Share, share

POLL_SECONDS = 0.2  # between looks for a free slot


@contextmanager
def slot(folder: Path, jobs: int) -> Iterator[Share]:
    """Hold one of so many slots.

    Slots are locks of a folder, so two studies of as many jobs share them.
    """
    with acquire_any([folder / f"slot-{number}.lock" for number in range(jobs)]) as number:
        yield share(number, jobs)


@contextmanager
def acquire_any(locks: list[Path]) -> Iterator[int]:
    """Hold the first of these locks that is free, and give its number.

    A study that ends meanwhile stops waiting.
    """
    while not shutting_down.is_set():  # control: end of waiting
        for number, path in enumerate(locks):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield number
            finally:
                lock.release()
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the study was ended before this run began")
