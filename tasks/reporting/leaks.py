"""Leaks: held-out images with a twin in training, and what they add to the score on test.

A given split may hold the same picture, nearly the same, or one of its group, on both sides. A model that has learnt it
by heart is then right for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.metrics import primary
from tasks.metrics.primary import Estimate, Predicted


class Twin(NamedTuple):
    """A held-out image and the training image that is its twin."""

    split: str  # validation or test
    row: int
    train_row: int
    kind: str  # what makes them twins


@dataclass(frozen=True)
class Leak:
    """How many held-out images leak, and what that is worth on test."""

    counts: Mapping[str, int]  # images with a twin, by split
    on_all: float  # the headline on all test images
    on_others: float | None  # on those without a twin; None where none is left, or where none leaks
    worth: Estimate | None  # the first − the second; likewise


def measure(name: str, test: Predicted, twins: Sequence[Twin]) -> Leak | None:
    """Measure what leaking test images add to a score.

    Parameters
    ----------
    name : str
        One of `scores.OF_COUNTS`.
    test : Predicted
    twins : sequence of Twin
        An image may have several.

    Returns
    -------
    Leak, optional
        None without any twin.
    """
    if not twins:
        return None
    rows = {split: {twin.row for twin in twins if twin.split == split} for split in ("validation", "test")}
    counts = {split: len(found) for split, found in rows.items()}
    leaks = np.isin(np.arange(len(test.y_true)), list(rows["test"]))
    on_all = primary.estimate(name, test).value
    if leaks.all() or not leaks.any():
        return Leak(counts, on_all, None, None)
    some, others = (Predicted(test.y_true[chosen], test.y_prob[chosen]) for chosen in (leaks, ~leaks))
    return Leak(counts, on_all, *primary.without(name, some, others))
