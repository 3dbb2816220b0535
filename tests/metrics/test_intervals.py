"""Bootstrap intervals against theory."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.metrics.intervals import gap_interval, mean_interval


def test_the_interval_of_a_mean_matches_theory_every_time() -> None:
    correct = (np.arange(10_000) % 5 > 0).astype(float)
    low, high = mean_interval(correct)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 10_000)
    assert (low, high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.001)
    assert mean_interval(correct) == (low, high)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval(np.ones(10)) == (1.0, 1.0)


def test_a_gap_to_a_single_image_has_an_interval() -> None:
    low, high = gap_interval(np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0]))
    assert (low, high) == pytest.approx((-0.75, 0.0))


def test_the_interval_of_a_gap_adds_both_variances() -> None:
    train, validation = (np.arange(20_000) % 10 > 0).astype(float), (np.arange(5_000) % 5 > 0).astype(float)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 20_000 + 0.8 * 0.2 / 5_000)
    assert gap_interval(train, validation) == pytest.approx((0.1 - error, 0.1 + error), abs=0.002)
