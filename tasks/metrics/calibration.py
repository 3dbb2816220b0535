"""Calibration: confidence against accuracy, and a temperature that corrects it.

Confidence is the probability of the predicted class. Error and temperature are of Guo et al. 2017, "On Calibration of
Modern Neural Networks", https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from tasks.metrics.per_sample import correct, log_loss_per_sample
from tasks.metrics.predictions import Labels, Probabilities, Values

BINS = 15  # of confidence, equally wide, from 0 to 1: Guo et al. 2017
FOLDS = 5


class ReliabilityBins(NamedTuple):
    """Images by confidence, as arrays of shape (bins,)."""

    n: NDArray[np.int64]
    accuracy: Values  # the mean of the bin; NaN where it is empty
    confidence: Values  # likewise


def reliability_bins(y_true: Labels, y_prob: Probabilities) -> ReliabilityBins:
    """Count images, and average accuracy and confidence, in bins of confidence."""
    confidence = y_prob.max(axis=1)
    values: Values = np.stack([correct(y_true, y_prob), confidence])
    # A float32 softmax may exceed 1 by a rounding error, and would fall out of the last bin.
    binned = stats.binned_statistic(np.clip(confidence, 0, 1), values, "mean", BINS, range=(0, 1))
    n = np.bincount(binned.binnumber - 1, minlength=BINS)
    return ReliabilityBins(n, *binned.statistic)


def calibration_error(y_true: Labels, y_prob: Probabilities) -> float:
    """Compute the expected calibration error: Guo et al. 2017, equation 3.

    It is the mean |accuracy − confidence| over bins, weighted by their images.
    """
    n, accuracy, confidence = reliability_bins(y_true, y_prob)
    filled = n > 0
    return float(np.sum(n[filled] * np.abs(accuracy[filled] - confidence[filled])) / n.sum())


def fit_temperature(y_true: Labels, y_prob: Probabilities) -> float:
    """Find the temperature T whose softmax(logits / T) has the lowest loss.

    It changes no prediction: Guo et al. 2017, section 4.2. Fit it on validation. It lies between 0.05 and 20, and is 1
    unless it helps images that it was not fitted on: each fifth of them is scored at the temperature of the others, and
    the mean loss must fall by more than three standard errors, because pictures of a series are not independent.
    """
    folds = np.arange(len(y_true)) % FOLDS
    if len(y_true) < 2 * FOLDS:
        return 1.0  # too few to tell
    gain = log_loss_per_sample(y_true, y_prob)
    for fold in range(FOLDS):
        out = folds == fold
        temperature = _lowest_loss_temperature(y_true[~out], y_prob[~out])
        gain[out] -= log_loss_per_sample(y_true[out], apply_temperature(y_prob[out], temperature))
    return _lowest_loss_temperature(y_true, y_prob) if gain.mean() > 3 * stats.sem(gain) else 1.0


def _lowest_loss_temperature(y_true: Labels, y_prob: Probabilities) -> float:
    if correct(y_true, y_prob).all():
        return 1.0  # a lower one would always lower the loss

    def loss(log_temperature: float) -> float:
        return float(log_loss_per_sample(y_true, apply_temperature(y_prob, np.exp(log_temperature))).mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=np.log([0.05, 20.0]), method="bounded").x))


def apply_temperature(y_prob: Probabilities, temperature: float) -> Probabilities:
    """Compute softmax(logits / temperature); a probability's logarithm is its logit."""
    logits = np.log(np.clip(y_prob, np.finfo(np.float64).tiny, 1.0))
    scaled: Probabilities = special.softmax(logits / temperature, axis=1)
    return scaled
