"""Planted wrong labels are found; edge cases raise nothing."""

import numpy as np
import pytest
from scipy import special

from tasks.metrics.predictions import Predicted
from tasks.reporting.label_issues import find_doubtful_labels


def split(n: int, n_classes: int, wrong: list[int], present: int | None = None) -> Predicted:
    """Make confident predictions, and wrong labels for a few images."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % (present or n_classes)
    logits = rng.normal(size=(n, n_classes)) * 0.2 + 4 * np.eye(n_classes)[truth]
    logits[wrong, truth[wrong]] += 1  # surer than it usually is of that class
    y_prob = special.softmax(logits, axis=1)
    y_true = truth.astype(np.int32)
    y_true[wrong] = (truth[wrong] + 1) % (present or n_classes)
    return Predicted(y_true, y_prob)


def test_planted_labels_are_found_worst_first_with_the_suggested_class(capfd: pytest.CaptureFixture[str]) -> None:
    planted = {"validation": [3, 40, 77], "test": [5, 123]}
    predictions = {name: split(200, 4, rows) for name, rows in planted.items()}
    issues = find_doubtful_labels(predictions)
    assert {(issue.split, issue.row) for issue in issues} == {
        (name, row) for name, rows in planted.items() for row in rows
    }
    for issue in issues:
        assert (issue.label - 1) % 4 == issue.suggested == issue.row % 4
        assert issue.probability_of_label < issue.probability_of_suggested
    assert [issue.score for issue in issues] == sorted(issue.score for issue in issues)
    assert find_doubtful_labels(predictions) == issues
    assert capfd.readouterr() == ("", "")


def test_a_second_opinion_doubts_what_the_network_has_learnt_by_heart() -> None:
    by_heart, (y_true, second) = [3, 40], split(200, 4, [3, 40])
    y_prob = np.sqrt(second) / np.sqrt(second).sum(axis=1, keepdims=True)  # less sure
    for row in by_heart:  # the network half believes the wrong label, the other classifier does not
        y_prob[row], second[row] = 0.005, 1e-6
        y_prob[row, [row % 4, (row + 1) % 4]] = 0.49, 0.5
        second[row, row % 4] = 1
    predictions = {"train": Predicted(y_true, y_prob)}
    assert find_doubtful_labels(predictions) == []
    issues = find_doubtful_labels(predictions, {"train": second})
    assert sorted(issue.row for issue in issues) == by_heart
    for issue in issues:
        assert (issue.probability_of_label, issue.suggested) == (0.5, issue.row % 4)
        assert (issue.second_of_label, issue.second_of_suggested) == (1e-6, 1)


@pytest.mark.parametrize(
    "edge",
    [
        split(1, 4, []),
        split(3, 50, [0]),  # fewer images than classes
        split(60, 10, [0], present=2),  # classes without images
        split(60, 10, [], present=1),
        split(2, 2, [0, 1]),  # every label is wrong
        Predicted(np.arange(40) % 4, np.tile([0.25, 0.25, 0.25, 0.25], (40, 1))),
        Predicted(np.arange(40) % 4, np.tile([1.0, 0.0, 0.0, 0.0], (40, 1))),
        Predicted(np.arange(40) % 4, np.eye(4)[np.arange(40) % 4]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_edge_case_raises_nothing(edge: Predicted, capfd: pytest.CaptureFixture[str]) -> None:
    issues = find_doubtful_labels({"test": edge})
    assert all(issue.label != issue.suggested for issue in issues)
    assert capfd.readouterr() == ("", "")
