"""The primary metric and its intervals, against theory."""

import numpy as np
import pytest

from tasks.metrics import primary
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Predicted


def predicted(supports: list[int], recalls: list[float]) -> Predicted:
    """Predict a share of each class right, the rest wrong."""
    y_true = np.repeat(np.arange(len(supports)), supports)
    right = np.concatenate([np.arange(n) < round(n * recall) for n, recall in zip(supports, recalls, strict=True)])
    return Predicted(y_true, np.eye(len(supports))[np.where(right, y_true, (y_true + 1) % len(supports))])


def test_the_interval_of_balanced_accuracy_matches_theory_every_time() -> None:
    split = predicted([1000, 100], [0.9, 0.6])
    value, interval = primary.estimate("balanced_accuracy", split)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 1000 + 0.6 * 0.4 / 100) / 2
    assert value == pytest.approx(0.75)
    assert interval == pytest.approx((0.75 - error, 0.75 + error), abs=0.004)
    assert primary.estimate("balanced_accuracy", split) == (value, interval)


def test_the_interval_of_accuracy_is_that_of_its_images() -> None:
    split = predicted([1000, 100], [0.9, 0.6])
    assert primary.estimate("accuracy", split).interval == mean_interval(correct(*split))


def test_the_gap_of_balanced_accuracy_adds_both_variances() -> None:
    train, validation = predicted([2000, 200], [1.0, 0.9]), predicted([1000, 100], [0.9, 0.6])
    value, interval = primary.gap("balanced_accuracy", train, validation)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 200 + 0.9 * 0.1 / 1000 + 0.6 * 0.4 / 100) / 2
    assert value == pytest.approx(0.2)
    assert interval == pytest.approx((0.2 - error, 0.2 + error), abs=0.004)


def test_what_is_hard_for_both_models_cancels_out() -> None:
    y_true, base = predicted([1000, 1000], [0.7, 0.7])
    head = base.copy()
    corrected = np.r_[990:1000, 1990:2000]
    head[corrected] = np.eye(2)[y_true[corrected]]
    low, high = primary.paired("balanced_accuracy", y_true, base, head)
    error = 1.96 * np.sqrt(0.01 * 0.99 / 2000)  # of unpaired models it would be four times as wide
    assert (low, high) == pytest.approx((0.01 - error, 0.01 + error), abs=0.0015)
    assert primary.paired("f1_macro", y_true, base, base) == (0.0, 0.0)
