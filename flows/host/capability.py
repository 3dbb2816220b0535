"""What this host computes with: backend, device and fastest precision.

Flows load no TensorFlow. A CPU's features are read from the system; only where a GPU may be used does a child process
ask the backend, which takes seconds.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from flows.host.resources import gpus
from tasks.device import cpu

ROOT = Path(__file__).resolve().parents[2]

# Its result is in the last lines, as libraries may print something before.
PROBE = """

import sys
from tasks.device import runtime
machine = runtime.prepare(sys.argv[1], precision="auto")
print(machine.device, machine.precision, sep="\\n")
"""


def backend() -> str:
    """Name Keras's backend, which only the environment sets (tasks/run/environment.py)."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


@cache
def resolve_device(device: str) -> tuple[str, str]:
    """Resolve `train.device` to a device of this host and its fastest precision.

    Returns
    -------
    device : str
        `cpu`, or the name of the GPU.
    precision : str
        `mixed_bfloat16` where that is native, `float32` elsewhere.

    Raises
    ------
    RuntimeError
        If the host has no such device.
    """
    if device == "cpu" or (device == "auto" and not gpus()):
        return "cpu", "mixed_bfloat16" if cpu.has_bfloat16(backend()) else "float32"
    name, precision = _probe(device).splitlines()[-2:]
    return name, precision


def _probe(device: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROBE, device], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError((result.stderr.strip().splitlines() or ["no device was found"])[-1])
    return result.stdout
