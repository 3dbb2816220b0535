"""The resources of this host, and of runs side by side."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import joblib
import psutil

JOB_BYTES = 3 * 2**29  # of memory for a run: its training, dvc, and the evaluation that follows
VARIABLE = "RUN_RESOURCES"  # by which a worker tells a trial its number and the number of jobs: `0/2`
CONTAINER_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Resources(NamedTuple):
    """A run's cores, and the variables of its threads and GPU."""

    cores: frozenset[int]
    variables: dict[str, str]


def default_jobs() -> int:
    """Count a job for each GPU, or for each two cores."""
    return len(gpus()) or max(min(joblib.cpu_count() // 2, memory() // JOB_BYTES), 1)


def memory() -> int:
    """Count the bytes of memory that this host and its container allow."""
    limits: list[int] = [psutil.virtual_memory().total]
    for limit in CONTAINER_MEMORY:
        with suppress(OSError, ValueError):  # not in a container, or `max`
            limits.append(int(limit.read_text()))
    return min(limits)


def gpus() -> list[str]:
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


def run_resources(number: int, jobs: int) -> Resources:
    """Return the cores and GPU of run `number` out of `jobs`."""
    cores, names = _cores(), gpus()
    size = max(len(cores) // jobs, 1)
    first = number * size % len(cores)
    variables = {"LOKY_MAX_CPU_COUNT": str(max(joblib.cpu_count() // jobs, 1))}  # a container's quota names no cores
    if names:
        variables["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    return Resources(frozenset(cores[first : first + size]), variables)


def assigned_resources() -> Resources:
    """Return what the worker assigned to this process, or everything."""
    number, jobs = (int(part) for part in os.environ.get(VARIABLE, "0/1").split("/"))
    return run_resources(number, jobs)
