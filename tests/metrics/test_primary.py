"""The headline's value, its intervals against theory, and what resampling leaves alone."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest

from tasks.metrics import class_counts, primary, scores
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.primary import Predicted
from tasks.params.evaluate import Evaluate


def predicted(supports: list[int], recalls: list[float], n_classes: int | None = None) -> Predicted:
    """Images of each class, of which a share is right and the others are taken for the next class."""
    n_classes = n_classes or len(supports)
    y_true = np.repeat(np.arange(len(supports)), supports)
    right = np.concatenate([np.arange(n) < round(n * recall) for n, recall in zip(supports, recalls, strict=True)])
    return Predicted(y_true, np.eye(n_classes)[np.where(right, y_true, (y_true + 1) % n_classes)])


def test_every_headline_of_params_yaml_can_be_counted() -> None:
    assert set(get_args(get_type_hints(Evaluate)["headline"])) == set(scores.OF_COUNTS)


@pytest.mark.parametrize("name", scores.OF_COUNTS)
@pytest.mark.parametrize("n_classes", [3, 7])
def test_a_score_of_counts_is_the_score_of_the_predictions(name: str, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.integers(0, 3, 200), rng.random((200, n_classes))  # of seven classes, four have no image
    counts = class_counts.count(y_true, y_prob.argmax(axis=1), n_classes)
    assert scores.OF_COUNTS[name](counts) == pytest.approx(scores.SCORES[name].compute(y_true, y_prob), abs=1e-12)


def test_resampling_keeps_the_images_of_each_class_and_their_mean() -> None:
    y_true, y_prob = predicted([300, 5, 60], [0.9, 0.4, 0.5], n_classes=4)
    (drawn,) = class_counts.resample(y_true, y_prob.argmax(axis=1), n_classes=4, rng=np.random.default_rng(0))
    assert drawn.support.tolist() == [300, 5, 60, 0]
    assert (drawn.predicted.sum(axis=1) == 365).all()
    assert (drawn.hits <= drawn.support).all()
    assert drawn.hits.mean(axis=0) == pytest.approx([270, 2, 30, 0], abs=1)


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
    here = base.copy()
    mended = np.r_[990:1000, 1990:2000]
    here[mended] = np.eye(2)[y_true[mended]]
    low, high = primary.paired("balanced_accuracy", y_true, base, here)
    error = 1.96 * np.sqrt(0.01 * 0.99 / 2000)  # of unpaired models it would be four times as wide
    assert (low, high) == pytest.approx((0.01 - error, 0.01 + error), abs=0.0015)
    assert primary.paired("f1_macro", y_true, base, base) == (0.0, 0.0)
