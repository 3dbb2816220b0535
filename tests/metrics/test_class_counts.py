"""Scores from counts by class against scikit-learn's, and the most frequent mistakes."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
from sklearn import metrics

from tasks.metrics.class_counts import (
    COUNT_METRICS,
    confusion_matrix,
    count_classes,
    most_confused,
    most_confused_classes,
    per_class,
)
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


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    y_pred = np.array([0, 1, 1, 2, 0, 2])
    assert confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.eye(3)[y_pred]).tolist() == [
        [1, 1, 0],
        [0, 1, 0],
        [1, 0, 2],
    ]


def test_only_mistakes_that_were_made_are_listed_most_frequent_first() -> None:
    counts = np.array([[9, 1, 0], [4, 9, 2], [0, 0, 9]])
    assert most_confused(counts) == [(1, 0, 4), (1, 2, 2), (0, 1, 1)]
    assert most_confused(counts, 1) == [(1, 0, 4)]
    assert most_confused(np.diag([3, 3])) == []


def test_the_most_confused_classes_have_the_most_mistakes_both_ways() -> None:
    counts = np.array([[9, 0, 0, 0], [5, 9, 0, 0], [0, 0, 9, 1], [0, 0, 0, 9]])
    assert most_confused_classes(counts, 2).tolist() == [0, 1]
    assert most_confused_classes(counts, 9).tolist() == [0, 1, 2, 3]
