"""The results of a study's finished trials, read from their experiments."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.repo.git import git
from flows.repo.graph import artifact
from flows.runs.experiments import TRAINED
from flows.runs.trial import Trial
from flows.study.plan import read_text


@dataclass(frozen=True)
class Row:
    """One run of the study, and its learning curves by epoch."""

    variant: str
    seed: int
    epochs: int
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    generalization_gap: float
    experiment: str
    gaps: tuple[float, ...]
    validation_accuracies: tuple[float, ...]
    machine: str = "not recorded"
    seconds: float | None = None  # of the training, where it was recorded


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
            history = list(csv.DictReader(read_text(root, commit, history_file).splitlines()))
            rows.append(
                Row(
                    trial.variant,
                    trial.seed,
                    len(history),
                    metrics["train"]["accuracy"],
                    metrics["validation"]["accuracy"],
                    metrics["test"]["accuracy"],
                    round(metrics["train"]["accuracy"] - metrics["validation"]["accuracy"], 6),  # not of the headline
                    trial.name,
                    tuple(float(epoch["generalization_gap"]) for epoch in history),
                    tuple(float(epoch["validation_accuracy"]) for epoch in history),
                    read_trailer(root, commit, "Machine") or Row.machine,
                    float(seconds) if (seconds := read_trailer(root, commit, TRAINED)) else None,
                )
            )
    return rows
