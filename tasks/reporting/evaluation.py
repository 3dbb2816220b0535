"""What the report is made from: predictions, images and their origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.predictions import Predicted

History = Sequence[Mapping[str, float]]  # rows of reports/history.csv


class Leak(NamedTuple):
    """A held-out image and its duplicate in training."""

    split: str  # validation or test
    row: int
    train_row: int
    kind: str  # what makes them duplicates


@dataclass(frozen=True)
class Findings:
    """Problems with the files that normalize found."""

    leaks: Sequence[Leak]
    conflicts: Sequence[tuple[str, str, str]]  # two files of one picture, and their labels
    unreadable: Sequence[tuple[str, str]]  # a file and the reason
    cropped: Sequence[tuple[str, str]] = ()  # a file and how much is cut off


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions and their origin."""

    class_names: Sequence[str]
    primary_metric: str
    predictions: Mapping[str, Predicted]  # by split: train, validation where there is one, test
    images: Mapping[str, NDArray[np.uint8]]  # by split
    files: Mapping[str, Sequence[str]]  # by split, the name of each image's file
    findings: Findings
    history: History
    has_early_stopping: bool
    parameters: Mapping[str, Any]  # blocks of params.yaml, by name
    digests: Mapping[str, str]  # path → MD5
    n_parameters: int  # of the model
    n_bytes: int  # of its file

    @property
    def best_epoch(self) -> int | None:
        """Find the epoch whose weights early stopping kept; None without it."""
        if not self.has_early_stopping:
            return None
        return int(min(self.history, key=lambda row: row["validation_loss"])["epoch"])
