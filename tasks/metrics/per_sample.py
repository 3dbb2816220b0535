"""Scores of each image, whose means are scores of a model.

Intervals and paired comparisons of two models resample these values.
"""

import numpy as np

from tasks.metrics.predictions import Labels, Probabilities, Values

EPS = np.finfo(np.float64).eps  # a smaller probability counts as this one, or its logarithm would be infinite


def correct(y_true: Labels, y_prob: Probabilities) -> Values:
    """Give 1.0 where the most probable class is the label, else 0.0."""
    values: Values = (y_prob.argmax(axis=1) == y_true).astype(np.float64)
    return values


def in_top_3(y_true: Labels, y_prob: Probabilities) -> Values:
    """Give 1.0 where at most two classes beat the label, else 0.0."""
    n_above = (y_prob > y_prob[np.arange(len(y_true)), y_true][:, None]).sum(axis=1)
    values: Values = (n_above < 3).astype(np.float64)
    return values


def log_loss_per_sample(y_true: Labels, y_prob: Probabilities) -> Values:
    """Compute the cross-entropy of each image, in nats."""
    return -np.log(np.clip(y_prob[np.arange(len(y_true)), y_true], EPS, 1.0))


def brier_per_sample(y_true: Labels, y_prob: Probabilities) -> Values:
    """Compute the squared distance from the one-hot label, between 0 and 2."""
    values: Values = ((y_prob - np.eye(y_prob.shape[1])[y_true]) ** 2).sum(axis=1)
    return values
