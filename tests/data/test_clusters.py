"""Clusters of copies: several labels, and much of a class."""

import numpy as np
import pytest

from tasks.data import clusters

FILES = [f"{row}.png" for row in range(60)]


def test_every_copy_of_a_picture_with_several_labels_is_found() -> None:
    numbers, labels = np.array([0, 1, 0, 2, 0, 1]), np.array([0, 1, 0, 1, 2, 1], np.int32)
    assert clusters.have_several_labels(numbers, labels).tolist() == [True, False, True, False, True, False]


@pytest.mark.parametrize(
    ("size", "copies", "said"),
    [
        (9, "usual", ""),
        (10, "usual", "10 of 60 images were taken for copies of one picture, such as 0.png and 9.png; if "),
        (57, "strict", "such as 0.png and 56.png; if they are not, set normalize.copies to usual or none"),
        (57, "none", "57 of 60 images were taken for copies of one picture, such as 0.png and 56.png"),
    ],
)
def test_a_cluster_that_holds_much_of_a_class_is_named(size: int, copies: str, said: str) -> None:
    numbers, labels = np.maximum(np.arange(60), size - 1), (np.arange(60) >= 30).astype(np.int32)
    line = clusters.describe_largest(numbers, labels, FILES, copies)
    assert said in line if said else line == ""
    assert ("if they are not" in line) == (said != "" and copies != "none")


def test_a_cluster_within_a_tenth_of_its_class_is_not_named() -> None:
    numbers = np.maximum(np.arange(2000), 99)
    assert clusters.describe_largest(numbers, np.repeat([0, 1], 1000).astype(np.int32), [""] * 2000, "usual") == ""
