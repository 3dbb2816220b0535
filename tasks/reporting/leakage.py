"""Leakage: held-out images with a duplicate in training inflate the test score.

A given split may hold the same picture, a near copy, or pictures of one group on both sides. A model that memorized the
duplicate is right for the wrong reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.metrics import primary
from tasks.metrics.types import Predicted, ScoreEstimate


class Leak(NamedTuple):
    """A held-out image and its duplicate in training."""

    split: str  # validation or test
    row: int
    train_row: int
    kind: str  # what makes them duplicates


@dataclass(frozen=True)
class Leakage:
    """The number of leaking images, and their effect on the test score."""

    counts: Mapping[str, int]  # images with a duplicate, by split
    score: float  # on all test images
    score_excluding: float | None  # on those without a duplicate; None if no test image leaks, or all do
    inflation: ScoreEstimate | None  # score − score_excluding; likewise


def measure_leakage(name: str, test: Predicted, leaks: Sequence[Leak]) -> Leakage | None:
    """Measure what leaking test images add to a score.

    Parameters
    ----------
    name : str
        One of `class_counts.COUNT_METRICS`.
    test : Predicted
    leaks : sequence of Leak
        An image may have several duplicates.

    Returns
    -------
    Leakage, optional
        None without leaks.
    """
    if not leaks:
        return None
    rows = {split: {leak.row for leak in leaks if leak.split == split} for split in ("validation", "test")}
    counts = {split: len(leaking) for split, leaking in rows.items()}
    leaking = np.isin(np.arange(len(test.y_true)), list(rows["test"]))
    score = primary.compute(name, test)
    if leaking.all() or not leaking.any():
        return Leakage(counts, score, None, None)
    excluded, others = (Predicted(test.y_true[chosen], test.y_prob[chosen]) for chosen in (leaking, ~leaking))
    return Leakage(counts, score, *primary.score_excluding(name, excluded, others))
