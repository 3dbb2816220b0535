"""The machine that makes a run, in the words that an experiment keeps of it."""

from __future__ import annotations

import os
import platform
import re
import socket
from contextlib import suppress
from pathlib import Path

import joblib


def describe() -> str:
    """Name this machine, its processor and its cores: `box-1f2e; AMD EPYC 9124; 16 cores`."""
    name = os.environ.get("PREFECT__WORKER_NAME") or socket.gethostname()  # Prefect sets the name of its worker
    parts = (name, _processor(), f"{joblib.cpu_count()} cores")
    return "; ".join(re.sub(r"[\s;]+", " ", part).strip() for part in parts)  # a line of three parts


def _processor() -> str:
    """The model of the processor; Python knows it on macOS and Windows, and on Linux the system does."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2] for line in lines if line.startswith("model name")]
        if models:
            return models[0]
    return platform.processor() or platform.machine()
