"""Notes on runs: a JSON object, whose loss fails no run."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.run.outputs import atomic_outputs

RUN_INFO = Path("reports/run.json")  # the note of each step on its run; no output of any stage


def read_notes(path: Path) -> dict[str, Any]:
    """Read notes by name; none if the file is missing or damaged."""
    notes: Any = {}
    with suppress(OSError, ValueError):
        notes = json.loads(path.read_bytes())
    return notes if isinstance(notes, dict) else {}


def add_note(path: Path, name: str, note: Any) -> None:
    """Add a note, or replace the note of this name."""
    notes = {**read_notes(path), name: note}
    with atomic_outputs(path) as (file,):
        file.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
