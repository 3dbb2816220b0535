"""Images counted by class: scores that follow from the counts, and mistakes.

Means over classes leave out a class without images, of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from tasks.metrics.predictions import Labels, Probabilities, Values

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """Counts of images, of shape (n_classes,) or (n_resamples, n_classes)."""

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
    """Count the images of each class."""
    predicted = y_prob.argmax(axis=1)
    counted = (y_true[predicted == y_true], predicted, y_true)
    return ClassCounts(*(np.bincount(labels, minlength=y_prob.shape[1]) for labels in counted))


def _recall(counts: ClassCounts) -> Values:
    values: Values = counts.hits / np.maximum(counts.support, 1)
    return values


def _f1(counts: ClassCounts) -> Values:
    values: Values = 2 * counts.hits / np.maximum(counts.predicted + counts.support, 1)
    return values


def _mean_over_classes(values: Values, counts: ClassCounts) -> Values:
    means: Values = values[..., counts.support > 0].mean(axis=-1)
    return means


# The scores that `evaluate.headline` may name: counts → a score, or a score of each resample.
COUNT_METRICS: dict[str, Callable[[ClassCounts], Values]] = {
    "accuracy": lambda counts: counts.hits.sum(axis=-1) / counts.support.sum(),
    "balanced_accuracy": lambda counts: _mean_over_classes(_recall(counts), counts),
    "f1_macro": lambda counts: _mean_over_classes(_f1(counts), counts),
}


def per_class(y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]) -> list[ClassScores]:
    """Compute precision, recall, F1 and support of each class."""
    counts = count_classes(y_true, y_prob)
    precision = counts.hits / np.maximum(counts.predicted, 1)
    columns = (precision.tolist(), _recall(counts).tolist(), _f1(counts).tolist(), counts.support.tolist())
    return [ClassScores(name, *row) for name, *row in zip(class_names, *columns, strict=True)]


def confusion_matrix(y_true: Labels, y_prob: Probabilities) -> Counts:
    """Count images by true class (rows) and predicted class (columns)."""
    classes = np.arange(y_prob.shape[1])
    counts: Counts = metrics.confusion_matrix(y_true, y_prob.argmax(axis=1), labels=classes)
    return counts


def most_confused(counts: Counts, n: int = 10) -> list[tuple[int, int, int]]:
    """List the most frequent mistakes as (true class, predicted class, count)."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = zip(*(index.tolist() for index in np.unravel_index(order, wrong.shape)), strict=True)
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]


def most_confused_classes(counts: Counts, n: int) -> Counts:
    """List, in the order of labels, the classes with the most mistakes.

    A mistake counts for the true class and for the predicted class.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    chosen: Counts = np.sort(np.argsort(-wrong, kind="stable")[:n])
    return chosen
