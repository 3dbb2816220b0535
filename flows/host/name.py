"""The name of this host, as an experiment records it."""

import os
import re
import socket

import joblib

from tasks.device import cpu


def describe_host() -> str:
    """Describe this host: `box-1f2e; AMD EPYC 9124; 16 cores`."""
    name = os.environ.get("PREFECT__WORKER_NAME") or socket.gethostname()  # Prefect sets the name of its worker
    parts = (name, cpu.name(), f"{joblib.cpu_count()} cores")
    return "; ".join(re.sub(r"[\s;]+", " ", part).strip() for part in parts)  # a line of three parts
