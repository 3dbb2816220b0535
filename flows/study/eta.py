"""The remaining time of a study on this machine."""

import json
import statistics
from pathlib import Path

from filelock import FileLock

from flows.runs.eta import describe_remaining
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


def estimate(folder: Path, left: list[Trial], jobs: int) -> str:
    """Say how long trials will take with so many jobs."""
    known = read_notes(folder / SECONDS)
    timed = [known[_kind(trial)] for trial in left if _kind(trial) in known]
    seconds = [statistics.mean(timed)] * jobs if timed else []
    return describe_remaining(len(left), seconds, f"with {jobs} job{'s' if jobs > 1 else ''}")
