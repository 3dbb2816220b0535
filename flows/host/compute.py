"""What this machine computes with: the backend, the device, and the precision that `auto` means on it.

Flows load no TensorFlow. What a CPU has is read from the system; only where a GPU may be used does a process of its own
ask the backend, which takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from flows.host.resources import gpus
from tasks.device import cpu

ROOT = Path(__file__).resolve().parents[2]

# The last lines, as libraries may say something before.
ASK = """
import sys
from tasks.device import runtime
found = runtime.prepare(sys.argv[1], precision="auto")
print(found.device, found.precision, sep="\\n")
"""


def backend() -> str:
    """Name Keras's backend: that of the environment, as no other setting of it is read (tasks/run/environment.py)."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


@cache
def here(device: str) -> tuple[str, str]:
    """Find the device and the precision of a run with this `train.device` and `train.precision: auto`.

    Returns
    -------
    device : str
        `cpu`, or the name of the GPU.
    precision : str
        `mixed_bfloat16` where that is native, `float32` elsewhere.

    Raises
    ------
    RuntimeError
        If the device is not there.
    """
    if device == "cpu" or (device == "auto" and not gpus()):
        return "cpu", "mixed_bfloat16" if cpu.has_bfloat16(backend()) else "float32"
    name, precision = _ask_backend(device).splitlines()[-2:]
    return name, precision


def _ask_backend(device: str) -> str:
    result = subprocess.run([sys.executable, "-c", ASK, device], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError((result.stderr.strip().splitlines() or ["no device was found"])[-1])
    return result.stdout
