"""Leaks: what is held out and has a twin in training."""

import numpy as np

from tasks.data.duplicates import Pair
from tasks.data.leaks import Leak, find_closest, find_leaks


def test_a_leak_names_the_twin_and_why() -> None:
    split_of = np.array(["train", "test", "validation", "test", "train", "test"])
    names = ["", "", "", "plant", "plant", ""]
    pairs = [Pair(1, 0, "resized"), Pair(2, 1, "mirrored")]
    assert find_leaks(split_of, names, pairs) == [
        Leak(1, 0, "resized"),
        Leak(2, 0, "copy of a copy"),
        Leak(3, 4, "group"),
    ]


def test_the_closest_pairs_across_splits_leave_out_what_leaks_and_what_has_no_contrast() -> None:
    split_of = np.array(["train", "test", "validation", "test", "train", "test", "test", ""])
    angles = np.radians([0, 10, 80, 0, 90, 60, 0, 1])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    vectors[6] = 0
    closest = [Leak(1, 0, "0.985"), Leak(2, 4, "0.985"), Leak(5, 4, "0.866")]
    assert sorted(find_closest(split_of, vectors, [Leak(3, 0, "equal pixels")], 8)) == closest
    assert find_closest(split_of, vectors, [], 1) == [Leak(3, 0, "1.000")]
    assert find_closest(np.full(8, "train"), vectors, [], 8) == []
