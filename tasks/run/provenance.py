"""What made a model: reports/made_on.json has the precision, threads, device, backend and CPU of its training.

They change bits and are no inputs, so the file is no output of a stage, which would never settle. Git keeps it, beside
the dvc.lock of the same commit. Only a training writes it, and only if it says something else, so that running again on
the same machine changes nothing. A model that is restored from DVC's run cache leaves it as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.device import cpu
from tasks.run.outputs import atomic_outputs

MADE_ON = Path("reports/made_on.json")


def record(made_with: dict[str, Any]) -> None:
    """Write what a training computed with, and on which CPU, unless the file says so already."""
    facts = {**made_with, "cpu": cpu.name()}
    content = f"{json.dumps(facts, indent=2)}\n".encode()
    if not MADE_ON.exists() or MADE_ON.read_bytes() != content:
        with atomic_outputs(MADE_ON) as (file,):
            file.write_bytes(content)
