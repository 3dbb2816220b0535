"""The confusion matrix and its most frequent mistakes."""

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from tasks.metrics.types import Labels, Probabilities


def confusion_matrix(y_true: Labels, y_prob: Probabilities) -> NDArray[np.int64]:
    """Count images by true class and predicted class.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), dtype=int64
        Rows are true classes, columns predicted ones.
    """
    classes = np.arange(y_prob.shape[1])
    counts: NDArray[np.int64] = metrics.confusion_matrix(y_true, y_prob.argmax(axis=1), labels=classes)
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
    """List the `n` classes with the most mistakes.

    They are in the order of labels. A mistake counts for the true class and for the predicted class.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    chosen: NDArray[np.int64] = np.sort(np.argsort(-wrong, kind="stable")[:n])
    return chosen
