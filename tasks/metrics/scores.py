"""The registry of a model's scores.

A score is None where the images do not define it, such as ROC AUC without an image of some class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn import metrics

from tasks.metrics.calibration import calibration_error
from tasks.metrics.class_counts import COUNT_METRICS, ClassCounts, count_classes
from tasks.metrics.per_sample import EPS, brier_per_sample, correct, in_top_3, log_loss_per_sample
from tasks.metrics.predictions import Labels, Probabilities, Values


@dataclass(frozen=True)
class Score:
    """A way to judge probabilities by labels."""

    title: str
    compute: Callable[[Labels, Probabilities], float | None]
    better: Literal["higher", "lower"]
    lowest: float
    highest: float
    per_sample: Callable[[Labels, Probabilities], Values] | None = None  # where the score is its mean


def _counted(metric: Callable[[ClassCounts], Values]) -> Callable[[Labels, Probabilities], float]:
    return lambda y_true, y_prob: float(metric(count_classes(y_true, y_prob)))


def _mean(per_sample: Callable[[Labels, Probabilities], Values]) -> Callable[[Labels, Probabilities], float]:
    return lambda y_true, y_prob: float(per_sample(y_true, y_prob).mean())


accuracy, loss = _counted(COUNT_METRICS["accuracy"]), _mean(log_loss_per_sample)


def _kappa(y_true: Labels, y_prob: Probabilities) -> float | None:
    predicted = y_prob.argmax(axis=1)
    if len(np.union1d(y_true, predicted)) == 1:
        return None  # chance alone agrees on everything
    return float(metrics.cohen_kappa_score(y_true, predicted, labels=np.arange(y_prob.shape[1])))


def _roc_auc(y_true: Labels, y_prob: Probabilities) -> float | None:
    n_classes = y_prob.shape[1]
    if len(np.unique(y_true)) < n_classes:
        return None
    if n_classes == 2:
        return float(metrics.roc_auc_score(y_true, y_prob[:, 1]))
    return float(metrics.roc_auc_score(y_true, y_prob, multi_class="ovr", labels=np.arange(n_classes)))


SCORES = {
    "accuracy": Score("accuracy", accuracy, "higher", 0, 1, correct),
    "loss": Score("negative log likelihood (nats)", loss, "lower", 0, -np.log(EPS), log_loss_per_sample),
    "brier": Score("Brier score", _mean(brier_per_sample), "lower", 0, 2, brier_per_sample),
    "calibration_error": Score("expected calibration error", calibration_error, "lower", 0, 1),
    "top_3_accuracy": Score("top-3 accuracy", _mean(in_top_3), "higher", 0, 1, in_top_3),
    "balanced_accuracy": Score("balanced accuracy", _counted(COUNT_METRICS["balanced_accuracy"]), "higher", 0, 1),
    "f1_macro": Score("F1, mean over classes", _counted(COUNT_METRICS["f1_macro"]), "higher", 0, 1),
    "kappa": Score("Cohen's kappa", _kappa, "higher", -1, 1),
    "roc_auc": Score("ROC AUC, one against the rest", _roc_auc, "higher", 0, 1),
}


def compute_all(y_true: Labels, y_prob: Probabilities) -> dict[str, float | None]:
    """Compute every score of the registry, by name."""
    return {name: score.compute(y_true, y_prob) for name, score in SCORES.items()}
