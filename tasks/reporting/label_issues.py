"""Labels worth a second look: images whose label the model doubts more than it errs by itself.

cleanlab does the arithmetic: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels", https://arxiv.org/abs/1911.00068. A class counts as doubted where another one is more probable than it usually
is for images with that other label, so that a hesitant model does not accuse everybody.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.per_sample import Labels, Probabilities
from tasks.metrics.primary import Predicted


class LabelIssue(NamedTuple):
    """An image whose label may be wrong, and the class that the model suggests."""

    split: str
    row: int
    label: int
    suggested: int
    probability_of_label: float
    probability_of_suggested: float
    score: float  # 0: the label is surely wrong; 1: surely right


def find(predictions: Mapping[str, Predicted]) -> list[LabelIssue]:
    """Find the doubtful labels of every split, worst first."""
    found = []
    for split, (y_true, y_prob) in predictions.items():
        for row in _doubted(y_true, y_prob).tolist():
            label, suggested = int(y_true[row]), int(y_prob[row].argmax())
            said, instead = float(y_prob[row, label]), float(y_prob[row, suggested])
            margin = (said - instead + 1) / 2  # cleanlab's normalized margin, of a label that is not the prediction
            found.append(LabelIssue(split, row, label, suggested, said, instead, margin))
    return sorted(found, key=lambda issue: issue.score)


def _doubted(y_true: Labels, y_prob: Probabilities) -> NDArray[np.int64]:
    """The rows of doubtful labels; none in a split of one class, where there is nothing to confuse."""
    if len(np.unique(y_true)) < 2:
        return np.empty(0, np.int64)
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]  # takes seconds, with pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images
        mask = find_label_issues(y_true, y_prob, n_jobs=1)
    rows: NDArray[np.int64] = np.flatnonzero(mask & (y_prob.argmax(axis=1) != y_true))
    return rows
