"""Types that all scores share: labels, probabilities, predictions, estimates."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]  # of shape (n,)
Probabilities = NDArray[np.floating[Any]]  # of shape (n, n_classes)
Values = NDArray[np.floating[Any]]
Interval = tuple[float, float]


class Predicted(NamedTuple):
    """The labels of images, and a model's class probabilities for them."""

    y_true: Labels
    y_prob: Probabilities


class ScoreEstimate(NamedTuple):
    """A score or a difference of scores, with its interval over images."""

    value: float
    interval: Interval
