"""Slots: how many runs go side by side on this machine, and the share of it that each one has."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
import psutil
from filelock import FileLock, Timeout

from flows.processes import shutting_down

JOB_BYTES = 3 * 2**29  # of memory for a run: its training, dvc, and the evaluation that follows
CONTAINER_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
POLL_SECONDS = 0.2  # between looks for a free slot


def default_jobs() -> int:
    """Choose a job for each GPU; without one, for each two cores.

    A container's quota of processor time and the memory may allow fewer.
    """
    return len(_gpus()) or max(min(joblib.cpu_count() // 2, _memory() // JOB_BYTES), 1)


def _memory() -> int:
    """Bytes of memory that this process may use, by the machine and by its container."""
    limits: list[int] = [psutil.virtual_memory().total]
    for limit in CONTAINER_MEMORY:
        with suppress(OSError, ValueError):  # not in a container, or `max`
            limits.append(int(limit.read_text()))
    return min(limits)


def _gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (allowed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in allowed.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)  # noqa: S607
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]  # without a driver: an error
    return [str(number) for number in range(len(lines))]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def slot(folder: Path, jobs: int) -> Iterator[tuple[frozenset[int], dict[str, str]]]:
    """Hold one of so many slots: its cores, and variables that name its threads and its GPU.

    Slots are locks of a folder, so two studies of as many jobs share them.
    """
    cores, gpus = _cores(), _gpus()
    share = max(len(cores) // jobs, 1)
    threads = {"LOKY_MAX_CPU_COUNT": str(max(joblib.cpu_count() // jobs, 1))}  # a container's quota names no cores
    with acquire_any([folder / f"slot-{number}.lock" for number in range(jobs)]) as number:
        first = number * share % len(cores)
        gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
        yield frozenset(cores[first : first + share]), threads | gpu


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
