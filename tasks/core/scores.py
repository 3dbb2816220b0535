"""Scores of a classifier, all computed by scikit-learn from labels and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def summary(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Accuracy, and loss as the mean cross-entropy in nats.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    probabilities : ndarray of shape (n, n_classes)
    """
    classes = np.arange(probabilities.shape[1])
    return {
        "accuracy": float(metrics.accuracy_score(labels, probabilities.argmax(axis=1))),
        "loss": float(metrics.log_loss(labels, probabilities, labels=classes)),
    }


def per_class(labels: Labels, probabilities: Probabilities, names: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class; a class that was never predicted has precision 0."""
    columns = metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(names)), zero_division=0
    )
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(names, *columns, strict=True)
    ]


def report(labels: Labels, probabilities: Probabilities, names: list[str]) -> str:
    """scikit-learn's classification report, with four digits."""
    return str(
        metrics.classification_report(
            labels,
            probabilities.argmax(axis=1),
            labels=np.arange(len(names)),
            target_names=names,
            digits=4,
            zero_division=0,
        )
    )


def confusion(labels: Labels, probabilities: Probabilities) -> NDArray[np.int64]:
    """Counts of shape (n_classes, n_classes): rows are true classes, columns predicted ones."""
    classes = np.arange(probabilities.shape[1])
    counts: NDArray[np.int64] = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)
    return counts
