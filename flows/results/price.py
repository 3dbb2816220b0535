"""The parts of corrected labels and of the model in a difference."""

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Groups, Labels, Probabilities

Sides = tuple[Labels, Labels]


def describe_price(labels: Sides, y_prob: tuple[Probabilities, Probabilities], groups: Groups) -> str:
    """Divide a difference in accuracy into the labels' part and the model's.

    Both models are scored on both sides' labels. A part is the mean of what changes when it alone is changed, first or
    last, so that both add up to the whole: the Shapley value of two factors (L. S. Shapley 1953, "A value for n-person
    games").

    Parameters
    ----------
    labels, y_prob : of base and here
        Of the same test images: arrays of shape (n,), and (n, n_classes).
    groups : ndarray of shape (n,)
        Empty without folds.
    """
    (old_by_old, new_by_old), (old_by_new, new_by_new) = (
        [correct(y_true, prob).astype(float) for prob in y_prob] for y_true in labels
    )
    by_labels = (old_by_new - old_by_old + new_by_new - new_by_old) / 2
    by_model = (new_by_old - old_by_old + new_by_new - old_by_new) / 2
    n = int(np.sum(labels[0] != labels[1]))
    return (
        f"{n:,} test label{' differs' if n == 1 else 's differ'}; by each side's own labels accuracy moved by "
        f"{_points(float((by_labels + by_model).mean()))} points: {_part(by_labels, groups)} by the labels, "
        f"{_part(by_model, groups)} by the model"
    )


def _part(values: NDArray[np.floating], groups: Groups) -> str:
    low, high = map(_points, mean_interval(values, groups))
    return f"{_points(float(values.mean()))} [{low}, {high}]"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")
