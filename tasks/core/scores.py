"""Scores of a classifier, their intervals, and how far its confidence can be trusted.

Labels and class probabilities in, numbers out; scikit-learn and SciPy do the arithmetic. A score that
its images do not define (ROC AUC without any image of a class) is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats
from sklearn import metrics

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]
Values = NDArray[np.floating[Any]]

BINS = 15  # of confidence, equally wide: Guo et al. 2017
RESAMPLES = 2_000
CONFIDENCE = 0.95  # of every interval
SMALLEST = np.finfo(np.float64).eps  # a probability below it counts as this, or a loss would be infinite


@dataclass(frozen=True)
class Score:
    """One way to judge class probabilities of shape (n, n_classes) against labels of shape (n,)."""

    title: str
    compute: Callable[[Labels, Probabilities], float | None]
    better: Literal["higher", "lower"]
    lowest: float
    highest: float
    of_each_image: Callable[[Labels, Probabilities], Values] | None = None  # where the score is their mean


def _predicted(probabilities: Probabilities) -> NDArray[np.int64]:
    predicted: NDArray[np.int64] = probabilities.argmax(axis=1)
    return predicted


def _classes(probabilities: Probabilities) -> NDArray[np.int64]:
    return np.arange(probabilities.shape[1])


def accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """The share of images whose most probable class is their label."""
    return float(metrics.accuracy_score(labels, _predicted(probabilities)))


def loss(labels: Labels, probabilities: Probabilities) -> float:
    """The mean cross-entropy in nats."""
    return float(metrics.log_loss(labels, probabilities, labels=_classes(probabilities)))


def is_right(labels: Labels, probabilities: Probabilities) -> Values:
    """1.0 for each image whose most probable class is its label, else 0.0."""
    right: Values = (_predicted(probabilities) == labels).astype(np.float64)
    return right


def loss_of_each(labels: Labels, probabilities: Probabilities) -> Values:
    """The cross-entropy of each image, in nats."""
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST, 1.0))


def brier_of_each(labels: Labels, probabilities: Probabilities) -> Values:
    """The squared distance of each image's probabilities from the truth, between 0 and 2."""
    squared: Values = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    return squared


def _brier(labels: Labels, probabilities: Probabilities) -> float:
    classes = _classes(probabilities)
    return float(metrics.brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False))


def _is_in_top_3(labels: Labels, probabilities: Probabilities) -> Values:
    rank = (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    near: Values = (rank < 3).astype(np.float64)
    return near


def _top_3(labels: Labels, probabilities: Probabilities) -> float:
    if probabilities.shape[1] <= 3:
        return 1.0
    return float(metrics.top_k_accuracy_score(labels, probabilities, k=3, labels=_classes(probabilities)))


def _f1(labels: Labels, probabilities: Probabilities) -> float:
    predicted, classes = _predicted(probabilities), _classes(probabilities)
    return float(metrics.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0))


def _kappa(labels: Labels, probabilities: Probabilities) -> float | None:
    predicted = _predicted(probabilities)
    if len(np.union1d(labels, predicted)) == 1:
        return None  # chance alone agrees on everything
    return float(metrics.cohen_kappa_score(labels, predicted, labels=_classes(probabilities)))


def _roc_auc(labels: Labels, probabilities: Probabilities) -> float | None:
    classes = _classes(probabilities)
    if len(np.unique(labels)) < len(classes):
        return None
    if len(classes) == 2:
        return float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    return float(metrics.roc_auc_score(labels, probabilities, multi_class="ovr", labels=classes))


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Expected calibration error: how far accuracy is from confidence, on the mean over bins of equal width.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """
    n, accuracy, confidence = reliability(labels, probabilities)
    filled = n > 0
    return float(np.sum(n[filled] * np.abs(accuracy[filled] - confidence[filled])) / n.sum())


SCORES = {
    "accuracy": Score("accuracy", accuracy, "higher", 0, 1, is_right),
    "loss": Score("negative log likelihood (nats)", loss, "lower", 0, -np.log(SMALLEST), loss_of_each),
    "brier": Score("Brier score", _brier, "lower", 0, 2, brier_of_each),
    "calibration_error": Score("expected calibration error", calibration_error, "lower", 0, 1),
    "top_3_accuracy": Score("top-3 accuracy", _top_3, "higher", 0, 1, _is_in_top_3),
    "f1_macro": Score("F1, mean over classes", _f1, "higher", 0, 1),
    "kappa": Score("Cohen's kappa", _kappa, "higher", -1, 1),
    "roc_auc": Score("ROC AUC, one against the rest", _roc_auc, "higher", 0, 1),
}


def everything(labels: Labels, probabilities: Probabilities) -> dict[str, float | None]:
    """Every score in the registry, by name."""
    return {name: score.compute(labels, probabilities) for name, score in SCORES.items()}


# --- Classes -------------------------------------------------------------------------------------


def per_class(labels: Labels, probabilities: Probabilities, names: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class; a class that was never predicted has precision 0."""
    columns = metrics.precision_recall_fscore_support(
        labels, _predicted(probabilities), labels=np.arange(len(names)), zero_division=0
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
            _predicted(probabilities),
            labels=np.arange(len(names)),
            target_names=names,
            digits=4,
            zero_division=0,
        )
    )


def confusion(labels: Labels, probabilities: Probabilities) -> NDArray[np.int64]:
    """Counts of shape (n_classes, n_classes): rows are true classes, columns predicted ones."""
    predicted, classes = _predicted(probabilities), _classes(probabilities)
    counts: NDArray[np.int64] = metrics.confusion_matrix(labels, predicted, labels=classes)
    return counts


def most_confused(counts: NDArray[np.int64], n: int = 10) -> list[tuple[int, int, int]]:
    """The `n` most frequent mistakes as (true class, predicted class, count); mistakes never made are left out."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = zip(*(index.tolist() for index in np.unravel_index(order, wrong.shape)), strict=True)
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]


# --- Intervals -----------------------------------------------------------------------------------


def interval_of_mean(values: Values, seed: int = 0) -> tuple[float, float]:
    """A 95 % percentile bootstrap interval of a mean over images.

    Parameters
    ----------
    values : ndarray of shape (n,)
        One for each image. For paired differences of two models, pass the differences.
    """
    return _bootstrap((values,), lambda x, axis: np.mean(x, axis=axis), seed)


def interval_of_gap(first: Values, second: Values, seed: int = 0) -> tuple[float, float]:
    """A 95 % percentile bootstrap interval of mean(first) − mean(second), over images drawn independently."""
    return _bootstrap((first, second), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis), seed)


def _bootstrap(samples: tuple[Values, ...], statistic: Callable[..., Any], seed: int) -> tuple[float, float]:
    if all(len(np.unique(sample)) == 1 for sample in samples):  # a perfect model: nothing to resample
        value = float(statistic(*samples, axis=0))
        return value, value
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=50,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


# --- Calibration ---------------------------------------------------------------------------------


def reliability(
    labels: Labels, probabilities: Probabilities, bins: int = BINS
) -> tuple[NDArray[np.int64], Values, Values]:
    """For bins of equal width over the confidence 0–1: images, their accuracy and their mean confidence.

    Returns
    -------
    n, accuracy, confidence : ndarrays of shape (bins,)
        NaN where a bin is empty.
    """
    confidence = probabilities.max(axis=1)
    values = np.stack([is_right(labels, probabilities), confidence])
    # A float32 softmax may exceed 1 by a rounding error, and would fall out of the last bin.
    found = stats.binned_statistic(np.clip(confidence, 0, 1), values, "mean", bins, range=(0, 1))
    n = np.bincount(found.binnumber - 1, minlength=bins)
    return n, found.statistic[0], found.statistic[1]


def fit_temperature(labels: Labels, probabilities: Probabilities) -> float:
    """The temperature T whose softmax(logits / T) has the lowest loss; 1 where no image is wrong.

    One number, fitted on validation, that changes no prediction: Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    The logits are the logarithms of the probabilities, which differ from the network's by a constant for each image.
    """
    if is_right(labels, probabilities).all():
        return 1.0  # the loss would fall without end as T does

    def loss(log_temperature: float) -> float:
        return float(loss_of_each(labels, with_temperature(probabilities, np.exp(log_temperature))).mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=np.log([0.05, 20.0]), method="bounded").x))


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """The probabilities that softmax(logits / temperature) gives."""
    logits = np.log(np.clip(probabilities, np.finfo(np.float64).tiny, 1.0))
    scaled: Probabilities = special.softmax(logits / temperature, axis=1)
    return scaled
