"""The host's name, backend, devices and fastest precision.

Flows load no TensorFlow. Only where a GPU may be used does a child process ask the backend, which takes seconds.
"""

import os
import re
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import joblib

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


def describe_host() -> str:
    """Describe this host: `box-1f2e; AMD EPYC 9124; 16 cores`."""
    name = os.environ.get("PREFECT__WORKER_NAME") or socket.gethostname()  # Prefect sets the name of its worker
    parts = (name, cpu.name(), f"{joblib.cpu_count()} cores")
    return "; ".join(re.sub(r"[\s;]+", " ", part).strip() for part in parts)  # a line of three parts


def backend() -> str:
    """Name Keras's backend, which only the environment sets (tasks/run/environment.py)."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


@cache
def resolve_device(device: str) -> tuple[str, str]:
    """Resolve `train.device` to `cpu` or a GPU's name, and its fastest precision.

    That is `mixed_bfloat16` where it is native, and `float32` elsewhere.
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
