"""What this machine computes with: the backend, the device, and the precision that `auto` means on it.

Flows load no TensorFlow. What a CPU has is read from the system; only where a GPU may be used does a process of its own
ask the backend, which takes seconds.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from flows.shares import gpus
from tasks import processor

# The last lines, as libraries may say something before.
ASK = """
import sys
from tasks import runtime
found = runtime.prepare(sys.argv[1], precision="auto")
print(found.device, found.precision, sep="\\n")
"""


def backend() -> str:
    """Name Keras's backend: that of the environment, as no other setting of it is read (tasks/surroundings.py)."""
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
        return "cpu", "mixed_bfloat16" if processor.has_bfloat16(backend()) else "float32"
    from flows import experiments  # whose summary asks, too

    root = Path(__file__).resolve().parents[1]
    name, precision = experiments.run(root, sys.executable, "-c", ASK, device).splitlines()[-2:]
    return name, precision
