"""Images counted by class, and the scores that follow from these counts.

The counts are of a split's images, or of many resamples of them at once (`tasks.metrics.intervals`). Means over classes
leave out a class without images, of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.types import Labels, Probabilities, Values

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """Counts of images by class, or of resampled images.

    Their shape is (n_classes,), or (n_resamples, n_classes).
    """

    hits: Counts  # of the class, and predicted to be
    predicted: Counts  # predicted to be of the class
    support: Counts  # of the class: of shape (n_classes,), since every resample has as many

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(self.hits + other.hits, self.predicted + other.predicted, self.support + other.support)


class ClassScores(NamedTuple):
    """Scores of one class against the others."""

    name: str
    precision: float  # 0 where the class is never predicted
    recall: float
    f1: float
    support: int  # images of the class


def count_classes(y_true: Labels, y_prob: Probabilities) -> ClassCounts:
    """Count the images of each class and the predictions of it."""
    predicted = y_prob.argmax(axis=1)
    counted = (y_true[predicted == y_true], predicted, y_true)
    return ClassCounts(*(np.bincount(labels, minlength=y_prob.shape[1]) for labels in counted))


def accuracy(counts: ClassCounts) -> Values:
    """Compute the share of images whose most probable class is their label."""
    values: Values = counts.hits.sum(axis=-1) / counts.support.sum()
    return values


def balanced_accuracy(counts: ClassCounts) -> Values:
    """Compute the mean recall over classes."""
    values: Values = _recall(counts)[..., counts.support > 0].mean(axis=-1)
    return values


def f1_macro(counts: ClassCounts) -> Values:
    """Compute the mean F1 over classes."""
    values: Values = _f1(counts)[..., counts.support > 0].mean(axis=-1)
    return values


# The scores that `evaluate.headline` may name: counts → a score, or a score of each resample.
COUNT_METRICS: dict[str, Callable[[ClassCounts], Values]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1_macro": f1_macro,
}


def per_class(y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]) -> list[ClassScores]:
    """Compute precision, recall, F1 and support of each class."""
    counts = count_classes(y_true, y_prob)
    precision = counts.hits / np.maximum(counts.predicted, 1)
    columns = (precision.tolist(), _recall(counts).tolist(), _f1(counts).tolist(), counts.support.tolist())
    return [ClassScores(name, *row) for name, *row in zip(class_names, *columns, strict=True)]


def _recall(counts: ClassCounts) -> Values:
    values: Values = counts.hits / np.maximum(counts.support, 1)
    return values


def _f1(counts: ClassCounts) -> Values:
    values: Values = 2 * counts.hits / np.maximum(counts.predicted + counts.support, 1)
    return values
