import numpy as np
import pytest

from tasks.core import scores

NAMES = ["a", "b", "c"]
LABELS = np.array([0, 0, 1, 2, 2, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.1, 0.4], [0.1, 0.1, 0.8]]
)


def test_accuracy_and_loss_match_their_definitions() -> None:
    result = scores.summary(LABELS, PROBABILITIES)
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["loss"] == pytest.approx(-np.log([0.8, 0.3, 0.8, 0.6, 0.4, 0.8]).mean())


def test_a_perfect_prediction_scores_one_and_costs_nothing() -> None:
    perfect = np.eye(3)[LABELS]
    assert scores.summary(LABELS, perfect) == pytest.approx({"accuracy": 1.0, "loss": 0.0}, abs=1e-6)
    assert all(row["f1"] == 1 for row in scores.per_class(LABELS, perfect, NAMES))


def test_the_order_of_the_images_does_not_matter() -> None:
    order = np.array([5, 2, 0, 1, 4, 3])
    shuffled = LABELS[order], PROBABILITIES[order]
    assert scores.summary(*shuffled) == pytest.approx(scores.summary(LABELS, PROBABILITIES))
    np.testing.assert_array_equal(scores.confusion(*shuffled), scores.confusion(LABELS, PROBABILITIES))


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    assert scores.confusion(LABELS, PROBABILITIES).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    table = scores.per_class(np.array([0, 1]), np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]]), NAMES)
    assert [row["precision"] for row in table] == [0.5, 0.0, 0.0]
    assert [row["support"] for row in table] == [1, 1, 0]


def test_the_report_names_every_class() -> None:
    text = scores.report(LABELS, PROBABILITIES, NAMES)
    assert all(name in text for name in [*NAMES, "accuracy", "macro avg"])
