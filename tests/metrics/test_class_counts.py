"""Scores from counts by class against scikit-learn's."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
from sklearn import metrics

from tasks.metrics.class_counts import COUNT_METRICS, count_classes, per_class
from tasks.params.evaluate import Evaluate


def random_predictions(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Predict images of the first three classes as any class."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, 200), rng.random((200, n_classes))


def test_every_headline_of_params_yaml_can_be_counted() -> None:
    assert set(get_args(get_type_hints(Evaluate)["headline"])) == set(COUNT_METRICS)


@pytest.mark.parametrize("n_classes", [3, 7])
def test_scores_from_counts_are_scikit_learns(n_classes: int) -> None:
    y_true, y_prob = random_predictions(n_classes)
    y_pred, present = y_prob.argmax(axis=1), np.unique(y_true)
    expected = {
        "accuracy": metrics.accuracy_score(y_true, y_pred),
        "balanced_accuracy": metrics.recall_score(y_true, y_pred, labels=present, average="macro"),
        "f1_macro": metrics.f1_score(y_true, y_pred, labels=present, average="macro"),
    }
    counts = count_classes(y_true, y_prob)
    assert {name: metric(counts) for name, metric in COUNT_METRICS.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_classes", [3, 7])
def test_scores_of_each_class_are_scikit_learns(n_classes: int) -> None:
    y_true, y_prob = random_predictions(n_classes)
    y_prob[:, 1] = 0  # a class that is never predicted has precision 0
    columns = metrics.precision_recall_fscore_support(
        y_true, y_prob.argmax(axis=1), labels=range(n_classes), zero_division=0
    )
    rows = per_class(y_true, y_prob, [f"class {n}" for n in range(n_classes)])
    for row, expected in zip(rows, zip(*columns, strict=True), strict=True):
        assert row[1:] == pytest.approx(expected, abs=1e-12)
