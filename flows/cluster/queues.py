"""Queues: which trials a machine can take, as names of the work queues that its worker serves.

A machine that computes in float32 would emulate bfloat16 at a tenth of the speed, and other libraries would give other
bits. Whoever submits a trial names its queue, and no worker sees the trials of a queue that it does not serve.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.host import compute

LOCK = "requirements.lock"


def libraries(lock: bytes) -> str:
    """Name the libraries of a requirements.lock by eight digits of its digest."""
    return hashlib.sha256(lock).hexdigest()[:8]


def needed(precision: str, device: str, libraries: str) -> str:
    """Name the queue of a trial; the arguments are its `train.precision`, its `train.device` and its libraries."""
    return f"{'gpu-' if device == 'gpu' else ''}{precision}-{libraries}"


def offered(root: Path) -> list[str]:
    """List the queues of all trials that this machine can take."""
    found = {compute.here(device) for device in ("auto", "cpu")}
    able = {
        (precision, "cpu" if device == "cpu" else "gpu")
        for device, fastest in found
        for precision in ("float32", fastest)
    }
    here = libraries((root / LOCK).read_bytes())
    return sorted(needed(precision, device, here) for precision, device in able)
