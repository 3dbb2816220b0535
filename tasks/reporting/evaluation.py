"""What the report is made from: predictions, images and their origin."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.exporting.about import About
from tasks.metrics.calibration import apply_temperature, fit_temperature
from tasks.metrics.predictions import NO_GROUPS, Groups, Predicted, Probabilities

History = Sequence[Mapping[str, float]]  # rows of reports/history.csv


class Leak(NamedTuple):
    """A held-out image and its duplicate, or the closest image, in training."""

    split: str  # validation or test
    row: int
    train_row: int
    kind: str  # what makes them duplicates, or their similarity


class Folds(NamedTuple):
    """The folds, each of which held out other images."""

    n: int
    split: str  # of the images that they held out
    groups: Groups  # of these images


@dataclass(frozen=True)
class Findings:
    """Problems with the files that normalize found."""

    leaks: Sequence[Leak]
    conflicts: Sequence[tuple[str, str, str]]  # two files of one picture, and their labels
    unreadable: Sequence[tuple[str, str]]  # a file and the reason
    n_duplicates: int = 0  # pairs
    close: Sequence[Leak] = ()  # pairs that were not called duplicates, the closest first
    cropped: Sequence[tuple[str, str]] = ()  # a file and how much is cut off
    corrected: Mapping[str, int] = field(default_factory=dict)  # labels that people corrected, by split


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions and their origin."""

    primary_metric: str
    predictions: Mapping[str, Predicted]  # as trained, by split: train, validation where there is one, test
    images: Mapping[str, NDArray[np.uint8]]  # by split
    files: Mapping[str, Sequence[str]]  # by split, the name of each image's file
    findings: Findings
    history: History
    has_early_stopping: bool
    parameters: Mapping[str, Any]  # blocks of params.yaml, by name
    about: About  # the model, without the temperature
    digests: Mapping[str, str]  # path → MD5, of the model and then of the data
    n_parameters: int  # of the model
    n_bytes: int  # of its file
    folds: Folds | None = None  # of a cross-validation
    second: Mapping[str, Probabilities] = field(default_factory=dict)  # a second opinion, by split
    judged: Mapping[str, Container[int]] = field(default_factory=dict)  # rows whose label a person has judged, by split

    @property
    def class_names(self) -> Sequence[str]:
        return self.about.classes

    @property
    def unseen(self) -> str | None:
        """Name the split of the gap and of the temperature."""
        if self.folds:
            return self.folds.split
        return "validation" if "validation" in self.predictions else None

    @property
    def groups(self) -> Groups:
        """Read the groups of test images that folds held out."""
        return self.folds.groups if self.folds and self.folds.split == "test" else NO_GROUPS

    @cached_property
    def temperature(self) -> float | None:
        """Fit the temperature on unseen images; None without them."""
        return fit_temperature(*self.predictions[self.unseen]) if self.unseen else None

    @cached_property
    def calibrated(self) -> Mapping[str, Predicted]:
        """Compute the predictions that people see, as `classify` prints them."""
        return {
            split: Predicted(y_true, apply_temperature(y_prob, self.temperature or 1.0))
            for split, (y_true, y_prob) in self.predictions.items()
        }

    @property
    def best_epoch(self) -> int | None:
        """Find the epoch whose weights early stopping kept; None without it.

        With folds the history ends there.
        """
        if not self.has_early_stopping or self.folds:
            return None
        return int(min(self.history, key=lambda row: row["validation_loss"])["epoch"])
