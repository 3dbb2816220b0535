"""Equality: what counts as another prediction."""

import numpy as np

from tasks.exporting.parity import compare
from tasks.metrics.predictions import Predicted

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.4, 0.39999, 0.20001], [0.1, 0.1, 0.8]])
LABELS = np.array([0, 1, 2])


def test_equal_predictions_are_not_beyond_the_tolerance() -> None:
    found = compare(Predicted(LABELS, EXPECTED), EXPECTED, 1e-4)
    assert found.beyond.tolist() == []
    assert found.metrics == {
        "n": 3,
        "accuracy": 2 / 3,
        "accuracy_difference": 0.0,
        "accuracy_interval": {"low": 0.0, "high": 0.0},
        "other_labels": 0,
        "largest_difference": 0.0,
    }


def test_a_tie_may_be_broken_otherwise_and_nothing_else_may() -> None:
    received = EXPECTED + np.array([[0, 0, 0], [-2e-5, 2e-5, 0], [0, 2e-4, -2e-4]])
    found = compare(Predicted(LABELS, EXPECTED), received, 1e-4)
    assert found.metrics["other_labels"] == 1
    assert found.beyond.tolist() == [2]


def test_a_probability_that_is_no_number_is_beyond() -> None:
    received = EXPECTED.copy()
    received[0, 0] = np.nan
    assert compare(Predicted(LABELS, EXPECTED), received, 1e-4).beyond.tolist() == [0]


def test_integers_may_cost_points_within_noise() -> None:
    labels = np.zeros(2_000, int)
    sure = np.tile([0.9, 0.1], (2_000, 1))

    def lose(n_lost: int, n_won: int = 0) -> list[int]:
        expected, received = sure.copy(), sure.copy()
        received[:n_lost] = received[:n_lost, ::-1]
        expected[-n_won or 2_000 :] = expected[-n_won or 2_000 :, ::-1]
        return list(compare(Predicted(labels, expected), received, 1e-4, points=0.5).beyond)

    assert lose(9) == []  # 0.45 points
    assert lose(100, 85) == []  # 0.75 points, which is noise
    assert lose(15) == list(range(15))
