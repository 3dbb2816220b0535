"""Leaks: what is held out and has a twin in training."""

import numpy as np

from tasks.data.duplicates import Pair
from tasks.data.leaks import Leak, find_leaks


def test_a_leak_names_the_twin_and_why() -> None:
    split_of = np.array(["train", "test", "validation", "test", "train", "test"])
    names = ["", "", "", "plant", "plant", ""]
    pairs = [Pair(1, 0, "resized"), Pair(2, 1, "mirrored")]
    assert find_leaks(split_of, names, pairs) == [
        Leak(1, 0, "resized"),
        Leak(2, 0, "copy of a copy"),
        Leak(3, 4, "group"),
    ]
