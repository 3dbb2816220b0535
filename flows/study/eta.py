"""Estimates: how long the missing trials of a study will take, by what earlier ones took here."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

from filelock import FileLock

from flows.runs.trial import Trial
from flows.study.plan import SEEDS
from tasks.run.metadata import add_note, read_notes

SECONDS = "seconds.json"  # of a trial, by its kind


def remember(folder: Path, trial: Trial, seconds: float) -> None:
    """Note how long a trial took."""
    with FileLock(folder / "seconds.lock"):
        add_note(folder / SECONDS, _kind(trial), round(seconds, 1))


def _kind(trial: Trial) -> str:
    """Name what trials have in common that differ in their seed alone."""
    return trial.variant + json.dumps({key: value for key, value in trial.overrides.items() if key not in SEEDS})


def estimate(folder: Path, missing: list[Trial], jobs: int) -> str:
    """Say how long the missing trials will take."""
    known = read_notes(folder / SECONDS)
    if not missing:
        return "nothing to run"
    timed = [known[_kind(trial)] for trial in missing if _kind(trial) in known]
    if not timed:
        return "no such run was timed here yet: an estimate follows the first"
    minutes = statistics.mean(timed) * math.ceil(len(missing) / jobs) / 60
    return f"about {minutes:.0f} minutes with {jobs} job{'s' if jobs > 1 else ''}"
