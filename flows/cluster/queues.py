"""The trials that a worker takes: its queues, and its cordon.

A host that computes in float32 would emulate bfloat16 at a tenth of the speed, and other libraries would give other
bits. So a queue is named by precision, device and libraries.
"""

import hashlib
from pathlib import Path
from typing import Any

import anyio
from prefect.client.orchestration import SyncPrefectClient
from prefect.variables import Variable

from flows.host import capability

CORDONED = "left_out"  # the variable's name on servers that are in use


def libraries_name(lock: bytes) -> str:
    """Name the libraries of a requirements.lock by eight digits of its digest."""
    return hashlib.sha256(lock).hexdigest()[:8]


def queue_name(precision: str, device: str, libraries: str) -> str:
    """Name the queue of a trial by its `train.precision`, `train.device` and libraries."""
    return f"{'gpu-' if device == 'gpu' else ''}{precision}-{libraries}"


def served_queues(root: Path) -> list[str]:
    """List the queues of all trials that this host can compute."""
    libraries = libraries_name((root / "requirements.lock").read_bytes())
    queues = set()
    for device, fastest in map(capability.resolve_device, ("auto", "cpu")):
        for precision in ("float32", fastest):
            queues.add(queue_name(precision, "cpu" if device == "cpu" else "gpu", libraries))
    return sorted(queues)


async def set_cordon(worker: str, reason: str) -> None:
    """Cordon a worker with a reason; an empty reason lifts its cordon."""
    while True:
        stored: Any = await Variable.aget(CORDONED, default={})
        others = {name: text for name, text in stored.items() if name != worker}
        cordoned = {**others, worker: reason} if reason else others
        if cordoned == stored:
            return
        await Variable.aset(CORDONED, cordoned, overwrite=True)
        await anyio.sleep(1)  # of workers that write at once the last one wins: read it again


def read_cordoned(client: SyncPrefectClient) -> dict[str, str]:
    """Read the reason of each worker that is cordoned."""
    variable = client.read_variable_by_name(CORDONED)
    stored: Any = variable.value if variable else {}
    return dict(stored)
