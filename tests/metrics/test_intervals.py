"""Bootstrap intervals against theory."""

import numpy as np
import pytest

from tasks.metrics.intervals import gap_interval, mean_interval, resample_counts


def test_the_interval_of_a_mean_matches_theory_every_time() -> None:
    correct = (np.arange(10_000) % 5 > 0).astype(float)
    low, high = mean_interval(correct)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 10_000)
    assert (low, high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.001)
    assert mean_interval(correct) == (low, high)


def test_equal_values_and_a_single_image_have_an_interval() -> None:
    assert mean_interval(np.ones(10)) == (1.0, 1.0)
    assert gap_interval(np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0])) == pytest.approx((-0.75, 0.0))


def test_the_interval_of_a_gap_adds_both_variances() -> None:
    train, validation = (np.arange(20_000) % 10 > 0).astype(float), (np.arange(5_000) % 5 > 0).astype(float)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 20_000 + 0.8 * 0.2 / 5_000)
    assert gap_interval(train, validation) == pytest.approx((0.1 - error, 0.1 + error), abs=0.002)


def test_resampling_keeps_the_images_of_each_class_and_their_mean() -> None:
    y_true = np.repeat([0, 1, 2], [300, 5, 60])
    y_pred = np.repeat([0, 1, 1, 2, 2, 3], [270, 30, 2, 3, 30, 30])
    (drawn,) = resample_counts(y_true, np.eye(4)[y_pred])
    assert drawn.support.tolist() == [300, 5, 60, 0]
    assert (drawn.predicted.sum(axis=1) == 365).all()
    assert (drawn.hits <= drawn.support).all()
    assert drawn.hits.mean(axis=0) == pytest.approx([270, 2, 30, 0], abs=1)
