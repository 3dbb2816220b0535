"""The results of a study's finished trials, read from their experiments."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.repo.git import git
from flows.repo.graph import artifact
from flows.results.summary import primary_metric
from flows.runs.experiments import TRAINED
from flows.runs.trial import Trial
from flows.study.plan import read_text

GAP = "generalization_gap"


@dataclass(frozen=True)
class Row:
    """One run of the study, and its accuracy by epoch."""

    variant: str
    seed: int
    epochs: int
    train: float  # the primary metric of each split
    validation: float
    test: float
    generalization_gap: float
    experiment: str
    gaps: Sequence[float] = ()
    validation_accuracies: Sequence[float] = ()
    machine: str = "not recorded"
    seconds: float | None = None  # of the training, where it was recorded
    score: str = "accuracy"  # the primary metric's name
    trainings: int = 1  # with folds, one for each and one of all images


def columns(score: str) -> dict[str, str]:
    """Return the columns of study.csv, and their fields of a row."""
    splits = {f"{split}_{score}": split for split in ("train", "validation", "test")}
    return {"variant": "variant", "seed": "seed", "epochs": "epochs", **splits, GAP: GAP, "experiment": "experiment"}


def read_trailer(root: Path, commit: str, key: str) -> str:
    """Read a trailer of an experiment's commit; "" where it has none."""
    return git(root, "show", "--no-patch", f"--format=%(trailers:key={key},valueonly)", commit).strip()


def collect(root: Path, trials: list[Trial], commits: Mapping[str, str]) -> list[Row]:
    """Read the finished trials' results; `commits` are by experiment."""
    metrics_file, history_file = artifact(root, "metrics"), artifact(root, "history")
    rows = []
    for trial in trials:
        if commit := commits.get(trial.name):
            metrics = json.loads(read_text(root, commit, metrics_file))
            score = primary_metric(metrics)
            train, validation, test = (metrics[split][score] for split in ("train", "validation", "test"))
            history = list(csv.DictReader(read_text(root, commit, history_file).splitlines()))
            rows.append(
                Row(
                    trial.variant,
                    trial.seed,
                    len(history),
                    train,
                    validation,
                    test,
                    round(train - validation, 6),
                    trial.name,
                    tuple(round(float(epoch["generalization_gap"]), 4) for epoch in history),
                    tuple(round(float(epoch["validation_accuracy"]), 4) for epoch in history),
                    read_trailer(root, commit, "Machine") or Row.machine,
                    float(seconds) if (seconds := read_trailer(root, commit, TRAINED)) else None,
                    score,
                    metrics.get("folds", {}).get("trainings", 0) + 1,
                )
            )
    return rows
