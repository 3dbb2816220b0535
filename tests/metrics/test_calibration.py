"""Known temperatures are fitted again; bins hold every image."""

import numpy as np
import pytest
from scipy import special

from tasks.metrics import scores
from tasks.metrics.calibration import apply_temperature, calibration_error, fit_temperature, reliability_bins


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_fitted_and_changes_no_prediction(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    calibrated = special.softmax(rng.normal(scale=2.0, size=(20_000, 4)), axis=1)
    y_true = (calibrated.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)  # drawn from them
    y_prob = apply_temperature(calibrated, 1 / true_temperature)
    fitted = fit_temperature(y_true, y_prob)
    assert fitted == pytest.approx(true_temperature, rel=0.05)
    recalibrated = apply_temperature(y_prob, fitted)
    np.testing.assert_array_equal(recalibrated.argmax(axis=1), y_prob.argmax(axis=1))
    assert calibration_error(y_true, recalibrated) < 0.02
    assert scores.loss(y_true, recalibrated) <= scores.loss(y_true, y_prob)


def test_a_perfect_model_keeps_its_confidence() -> None:
    assert fit_temperature(np.arange(4), np.eye(4)) == 1.0


@pytest.mark.parametrize("n", [3, 60, 200])
def test_a_temperature_that_may_be_chance_is_not_used(n: int) -> None:
    """Take probabilities that are right as they are; a few images always have another best temperature."""
    used = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y_prob = special.softmax(rng.normal(scale=2.0, size=(n, 4)), axis=1)
        y_true = (y_prob.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
        used += [fit_temperature(y_true, y_prob)]
    assert used == [1.0] * 10


def test_every_image_is_in_one_bin_even_above_confidence_one() -> None:
    y_prob = np.array([[1 + 1e-7, 0], [0.6, 0.4], [0.5, 0.5]])
    n, accuracy, confidence = reliability_bins(np.array([0, 0, 1]), y_prob)
    assert n.sum() == 3
    assert (n[-1], accuracy[-1], confidence[-1]) == pytest.approx((1, 1, 1))
    assert np.isnan(accuracy[n == 0]).all()
