"""The confusion matrix and its most frequent mistakes."""

import numpy as np

from tasks.metrics.confusion import confusion_matrix, most_confused, most_confused_classes


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
