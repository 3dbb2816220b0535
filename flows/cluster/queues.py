"""Queues of trials, named by precision, device and libraries.

A host that computes in float32 would emulate bfloat16 at a tenth of the speed, and other libraries would give other
bits. A trial names its queue, and a worker sees only the queues that it serves.
"""

import hashlib
from pathlib import Path

from flows.host import capability

LOCK = "requirements.lock"


def libraries_name(lock: bytes) -> str:
    """Name the libraries of a requirements.lock by eight digits of its digest."""
    return hashlib.sha256(lock).hexdigest()[:8]


def queue_name(precision: str, device: str, libraries: str) -> str:
    """Name the queue of a trial by its `train.precision`, `train.device` and libraries."""
    return f"{'gpu-' if device == 'gpu' else ''}{precision}-{libraries}"


def served_queues(root: Path) -> list[str]:
    """List the queues of all trials that this host can compute."""
    devices = {capability.resolve_device(device) for device in ("auto", "cpu")}
    able = {
        (precision, "cpu" if device == "cpu" else "gpu")
        for device, fastest in devices
        for precision in ("float32", fastest)
    }
    libraries = libraries_name((root / LOCK).read_bytes())
    return sorted(queue_name(precision, device, libraries) for precision, device in able)
