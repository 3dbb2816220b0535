"""Images counted by class: right ones, predicted ones, all; and the same for resampled images.

The scores that are functions of these counts, such as balanced accuracy, have no value for each image whose mean they
were, so that their intervals come from counts of resampled images. Each class keeps its number of images (a stratified
bootstrap: Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.2): a rare class does not
vanish from a resample. A class of n images adds (n − 1) / n of its variance, so that intervals are too narrow where
most classes have two or three. Images of one class with one prediction are alike, and are drawn together: the time
grows with the filled cells of the confusion matrix and not with the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import RESAMPLES
from tasks.metrics.per_sample import Labels

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """Counts of images, of shape (n_classes,), or of resampled images, of shape (n_resamples, n_classes)."""

    hits: Counts  # of the class, and predicted to be
    predicted: Counts  # predicted to be of the class
    support: Counts  # of the class: of shape (n_classes,), since every resample has as many

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(self.hits + other.hits, self.predicted + other.predicted, self.support + other.support)


def count(y_true: Labels, predicted: NDArray[np.integer[Any]], n_classes: int) -> ClassCounts:
    """Count the images of each class."""
    return ClassCounts(
        *(np.bincount(labels, minlength=n_classes) for labels in (y_true[predicted == y_true], predicted, y_true))
    )


def resample(
    y_true: Labels, *predicted: NDArray[np.integer[Any]], n_classes: int, rng: np.random.Generator
) -> list[ClassCounts]:
    """Draw the images of each class anew, RESAMPLES times, and count.

    Parameters
    ----------
    y_true : ndarray of shape (n,)
    *predicted : ndarray of shape (n,)
        One for each model; all are counted on the same resampled images.
    n_classes : int
    rng : numpy.random.Generator

    Returns
    -------
    list of ClassCounts
        One for each model.
    """
    cells, n_alike = np.unique(np.stack([y_true, *predicted]), axis=1, return_counts=True)
    support = np.bincount(y_true, minlength=n_classes)
    hits, said = np.zeros((2, len(predicted), n_classes, RESAMPLES), np.int64)
    starts = np.searchsorted(cells[0], np.arange(n_classes + 1))  # cells are sorted by class
    for label, (start, stop) in enumerate(pairwise(starts)):
        if start == stop:
            continue
        drawn = rng.multinomial(support[label], n_alike[start:stop] / support[label], size=RESAMPLES)
        for cell, times in zip(cells[1:, start:stop].T, drawn.T, strict=True):
            for model, column in enumerate(cell):
                said[model, column] += times
                if column == label:
                    hits[model, column] += times
    return [ClassCounts(*pair, support) for pair in zip(hits.transpose(0, 2, 1), said.transpose(0, 2, 1), strict=True)]
