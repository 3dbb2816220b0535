"""Scores of a classifier: overall, by class, and for pairs of classes.

`y_true` are the labels, of shape (n,); `y_prob` are the class probabilities, of shape (n, n_classes). scikit-learn
does the arithmetic. A score is None where the images do not define it, such as ROC AUC without an image of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from tasks.metrics.calibration import calibration_error
from tasks.metrics.class_counts import ClassCounts
from tasks.metrics.per_sample import (
    EPS,
    Labels,
    Probabilities,
    Values,
    brier_per_sample,
    correct,
    in_top_3,
    log_loss_per_sample,
)


@dataclass(frozen=True)
class Score:
    """A way to judge probabilities by labels."""

    title: str
    compute: Callable[[Labels, Probabilities], float | None]
    better: Literal["higher", "lower"]
    lowest: float
    highest: float
    per_sample: Callable[[Labels, Probabilities], Values] | None = None  # where the score is its mean


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class against the others."""

    name: str
    precision: float  # 0 where the class is never predicted
    recall: float
    f1: float
    support: int  # images of the class


def _predicted(y_prob: Probabilities) -> NDArray[np.int64]:
    predicted: NDArray[np.int64] = y_prob.argmax(axis=1)
    return predicted


def _classes(y_prob: Probabilities) -> NDArray[np.int64]:
    return np.arange(y_prob.shape[1])


def accuracy(y_true: Labels, y_prob: Probabilities) -> float:
    """Compute the share of images whose most probable class is their label."""
    return float(metrics.accuracy_score(y_true, _predicted(y_prob)))


def loss(y_true: Labels, y_prob: Probabilities) -> float:
    """Compute the mean cross-entropy in nats."""
    return float(metrics.log_loss(y_true, y_prob, labels=_classes(y_prob)))


def _brier(y_true: Labels, y_prob: Probabilities) -> float:
    return float(metrics.brier_score_loss(y_true, y_prob, labels=_classes(y_prob), scale_by_half=False))


def _top_3_accuracy(y_true: Labels, y_prob: Probabilities) -> float:
    if y_prob.shape[1] <= 3:
        return 1.0
    return float(metrics.top_k_accuracy_score(y_true, y_prob, k=3, labels=_classes(y_prob)))


def _balanced_accuracy(y_true: Labels, y_prob: Probabilities) -> float:
    present = np.unique(y_true)  # a mean over classes says nothing of one without images
    return float(metrics.recall_score(y_true, _predicted(y_prob), labels=present, average="macro", zero_division=0))


def _f1_macro(y_true: Labels, y_prob: Probabilities) -> float:
    present = np.unique(y_true)
    return float(metrics.f1_score(y_true, _predicted(y_prob), labels=present, average="macro", zero_division=0))


def _kappa(y_true: Labels, y_prob: Probabilities) -> float | None:
    predicted = _predicted(y_prob)
    if len(np.union1d(y_true, predicted)) == 1:
        return None  # chance alone agrees on everything
    return float(metrics.cohen_kappa_score(y_true, predicted, labels=_classes(y_prob)))


def _roc_auc(y_true: Labels, y_prob: Probabilities) -> float | None:
    classes = _classes(y_prob)
    if len(np.unique(y_true)) < len(classes):
        return None
    if len(classes) == 2:
        return float(metrics.roc_auc_score(y_true, y_prob[:, 1]))
    return float(metrics.roc_auc_score(y_true, y_prob, multi_class="ovr", labels=classes))


SCORES = {
    "accuracy": Score("accuracy", accuracy, "higher", 0, 1, correct),
    "loss": Score("negative log likelihood (nats)", loss, "lower", 0, -np.log(EPS), log_loss_per_sample),
    "brier": Score("Brier score", _brier, "lower", 0, 2, brier_per_sample),
    "calibration_error": Score("expected calibration error", calibration_error, "lower", 0, 1),
    "top_3_accuracy": Score("top-3 accuracy", _top_3_accuracy, "higher", 0, 1, in_top_3),
    "balanced_accuracy": Score("balanced accuracy", _balanced_accuracy, "higher", 0, 1),
    "f1_macro": Score("F1, mean over classes", _f1_macro, "higher", 0, 1),
    "kappa": Score("Cohen's kappa", _kappa, "higher", -1, 1),
    "roc_auc": Score("ROC AUC, one against the rest", _roc_auc, "higher", 0, 1),
}


def _accuracy_of(counts: ClassCounts) -> Values:
    values: Values = counts.hits.sum(axis=-1) / counts.support.sum()
    return values


def _balanced_accuracy_of(counts: ClassCounts) -> Values:
    present = counts.support > 0
    values: Values = (counts.hits[..., present] / counts.support[present]).mean(axis=-1)
    return values


def _f1_macro_of(counts: ClassCounts) -> Values:
    present = counts.support > 0
    named = counts.predicted[..., present] + counts.support[present]
    values: Values = (2 * counts.hits[..., present] / named).mean(axis=-1)
    return values


# The same scores from counts by class, for resampling: those that `evaluate.headline` may name.
OF_COUNTS: dict[str, Callable[[ClassCounts], Values]] = {
    "accuracy": _accuracy_of,
    "balanced_accuracy": _balanced_accuracy_of,
    "f1_macro": _f1_macro_of,
}


def compute_all(y_true: Labels, y_prob: Probabilities) -> dict[str, float | None]:
    """Compute every score of the registry, by name."""
    return {name: score.compute(y_true, y_prob) for name, score in SCORES.items()}


def per_class(y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]) -> list[ClassScores]:
    """Compute precision, recall, F1 and support of each class."""
    columns = metrics.precision_recall_fscore_support(
        y_true, _predicted(y_prob), labels=np.arange(len(class_names)), zero_division=0
    )
    return [
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
    ]


def classification_report(y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]) -> str:
    """Write scikit-learn's classification report over all classes, with four digits."""
    return str(
        metrics.classification_report(
            y_true,
            _predicted(y_prob),
            labels=np.arange(len(class_names)),
            target_names=list(class_names),
            digits=4,
            zero_division=0,
        )
    )


def confusion_matrix(y_true: Labels, y_prob: Probabilities) -> NDArray[np.int64]:
    """Count images by true class and predicted class.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), dtype=int64
        Rows are true classes, columns predicted ones.
    """
    counts: NDArray[np.int64] = metrics.confusion_matrix(y_true, _predicted(y_prob), labels=_classes(y_prob))
    return counts


def most_confused(counts: NDArray[np.int64], n: int = 10) -> list[tuple[int, int, int]]:
    """List the `n` most frequent mistakes of a confusion matrix.

    Returns
    -------
    list of (true class, predicted class, count)
        Most frequent first; mistakes that were never made are left out.
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = zip(*(index.tolist() for index in np.unravel_index(order, wrong.shape)), strict=True)
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]


def most_confused_classes(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """List the `n` classes with the most mistakes, in the order of labels.

    A mistake is one of the class that the image is of, and of the class that it is taken for.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    chosen: NDArray[np.int64] = np.sort(np.argsort(-wrong, kind="stable")[:n])
    return chosen
