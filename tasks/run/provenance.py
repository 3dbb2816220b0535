"""Provenance of a model: reports/made_on.json.

The settings and the CPU of a training change bits but are no inputs, so the file is no output of a stage, which would
never be up to date. Git keeps it beside the dvc.lock of the same commit. Only a training writes it: DVC leaves it alone
when it restores a model from its run cache.
"""

import json
from pathlib import Path
from typing import Any

from tasks.device import cpu
from tasks.run.outputs import atomic_outputs

MADE_ON = Path("reports/made_on.json")


def record(made_with: dict[str, Any]) -> None:
    """Write the settings and the CPU of a training, if they changed."""
    facts = {**made_with, "cpu": cpu.name()}
    content = f"{json.dumps(facts, indent=2)}\n".encode()
    if not MADE_ON.exists() or MADE_ON.read_bytes() != content:
        with atomic_outputs(MADE_ON) as (file,):
            file.write_bytes(content)
