"""Doubtful labels: images whose label the model contradicts with confidence.

By cleanlab: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
https://arxiv.org/abs/1911.00068. Another class must be more probable than it usually is for images with that label, so
that a model of low confidence does not flag everything.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.predictions import Labels, Predicted, Probabilities

NO_SECOND: Mapping[str, Probabilities] = {}


class LabelIssue(NamedTuple):
    """An image with a doubtful label, and the suggested class."""

    split: str
    row: int
    label: int
    suggested: int
    probability_of_label: float
    probability_of_suggested: float
    score: float  # 0: the label is surely wrong; 1: surely right
    second_of_label: float | None = None  # probabilities of a second opinion
    second_of_suggested: float | None = None


def find_doubtful_labels(
    predictions: Mapping[str, Predicted], second: Mapping[str, Probabilities] = NO_SECOND
) -> list[LabelIssue]:
    """Find the doubtful labels of every split, worst first.

    With a second opinion, the geometric mean of both decides.
    """
    issues = []
    for split, (y_true, y_prob) in predictions.items():
        both = _combine(y_prob, second[split]) if split in second else y_prob
        for row in _doubtful_rows(y_true, both).tolist():
            label, suggested = int(y_true[row]), int(both[row].argmax())
            margin = float(both[row, label] - both[row, suggested] + 1) / 2  # cleanlab's, of a wrong prediction
            p_label, p_suggested = y_prob[row, [label, suggested]].tolist()
            others = second[split][row, [label, suggested]].tolist() if split in second else (None, None)
            issues.append(LabelIssue(split, row, label, suggested, p_label, p_suggested, margin, *others))
    return sorted(issues, key=lambda issue: issue.score)


def _combine(first: Probabilities, second: Probabilities) -> Probabilities:
    product = np.sqrt(first * second) + np.finfo(float).tiny
    combined: Probabilities = product / product.sum(axis=1, keepdims=True)
    return combined


def _doubtful_rows(y_true: Labels, y_prob: Probabilities) -> NDArray[np.int64]:
    if len(np.unique(y_true)) < 2:
        return np.empty(0, np.int64)  # cleanlab needs two classes
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]  # takes seconds, with pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images
        mask = find_label_issues(y_true, y_prob, n_jobs=1)
    rows: NDArray[np.int64] = np.flatnonzero(mask & (y_prob.argmax(axis=1) != y_true))
    return rows
