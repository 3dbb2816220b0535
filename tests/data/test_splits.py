"""The division into splits, of single images and of whole groups: shares, seeds, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest

from tasks.data.duplicates import Pair
from tasks.data.leaks import find_leaks
from tasks.data.splits import assign_splits, limit_training, merge_groups, split_rows

NAMES = ["ant", "bee", "cat", "dog"]
HALF = {"test": 0.2, "validation": 0.1}
LABELS = np.repeat(np.arange(10, dtype=np.uint8), 100)


@pytest.mark.parametrize("fraction", [0, 0.1])
def test_the_parts_are_disjoint_complete_and_sorted(fraction: float) -> None:
    train, validation = split_rows(LABELS, fraction, None, seed=3)
    assert sorted([*train, *validation]) == list(range(1000))
    assert len(validation) == 1000 * fraction
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


def test_each_class_keeps_its_share_and_a_subset_leaves_validation_as_it_was() -> None:
    train, validation = split_rows(LABELS, 0.2, 400, seed=0)
    assert np.bincount(LABELS[train]).tolist() == [40] * 10
    assert np.bincount(LABELS[validation]).tolist() == [20] * 10
    whole, again, other = (split_rows(LABELS, 0.2, None, seed)[1].tolist() for seed in (0, 0, 1))
    assert validation.tolist() == whole == again != other


@pytest.mark.parametrize(
    ("fraction", "images", "message"),
    [
        (0.001, None, r"validation_fraction: 0\.001 divides 1,000 images of 10 classes.* into 999 and 1;"),
        (0.999, None, r"validation_fraction: 0\.999 divides 1,000 images .* into 1 and 999;"),
        (0.1, 901, "at most 900, what validation leaves; received 901"),
        (0.1, 9, r"train_images: 9 divides 900 images .* into 9 and 891;"),
        (0.1, 899, r"train_images: 899 divides 900 images .* into 899 and 1;"),
    ],
)
def test_a_part_without_room_for_each_class_names_the_key(fraction: float, images: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_rows(LABELS, fraction, images, 0)
    with pytest.raises(ValueError, match="the rarest with 1, into"):
        split_rows(np.append(LABELS, np.uint8(10)), 0.1, None, 0)


def test_training_is_limited_with_the_same_share_of_each_class() -> None:
    labels = np.repeat([0, 1], [60, 30]).astype(np.int32)
    split_of = np.array(["train"] * 50 + ["test"] * 10 + ["train"] * 25 + ["test"] * 5, "<U10")
    limited = limit_training(labels, split_of, 30, 0)
    assert np.bincount(labels[limited == "train"]).tolist() == [20, 10]
    assert set(limited[split_of == "train"]) == {"train", ""}
    assert (limited[split_of == "test"] == "test").all()
    assert (limit_training(labels, split_of, None, 0) == split_of).all()


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def undivided(n: int) -> np.ndarray:
    return np.full(n, "", "<U10")


def shares(split_of: np.ndarray, labels: np.ndarray, split: str) -> list[float]:
    return [float((split_of[labels == label] == split).mean()) for label in np.unique(labels)]


def test_what_is_drawn_has_the_same_share_of_each_class() -> None:
    labels = labels_of(1000, 400, 100, 50)
    split_of, again, other = (
        assign_splits(labels, undivided(1550), np.arange(1550), HALF, seed, NAMES) for seed in (0, 0, 1)
    )
    assert split_of.tolist() == again.tolist() != other.tolist()
    assert shares(split_of, labels, "test") == pytest.approx([0.2] * 4, abs=0.01)
    assert shares(split_of, labels, "validation") == pytest.approx([0.08] * 4, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_no_group_is_on_two_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 400).astype(np.int32)
    names = [f"plant {number}" if number < 60 else "" for number in rng.integers(0, 120, 400)]
    pairs = [
        Pair(row, other, "resized") for other, row in pairwise(sorted(rng.choice(400, 30, replace=False).tolist()))
    ]
    groups = merge_groups(names, pairs[::3])
    split_of = assign_splits(labels, undivided(400), groups, HALF, seed, NAMES)
    assert all(len(set(split_of[groups == group])) == 1 for group in np.unique(groups))
    assert find_leaks(split_of, names, pairs[::3]) == []
    assert 0.1 < (split_of == "test").mean() < 0.3
    assert set(split_of) == {"train", "validation", "test"}


def test_a_group_larger_than_a_share_stays_in_training() -> None:
    labels, groups = labels_of(100, 100), np.array([*[0] * 90, *range(1, 111)]) // 2
    split_of = assign_splits(labels, undivided(200), groups, HALF, 0, NAMES)
    assert (split_of[:90] == "train").all()
    assert 15 <= (split_of == "test").sum() <= 40


def test_a_given_split_is_kept_and_only_what_it_lacks_is_drawn() -> None:
    labels = labels_of(50, 50)
    given = np.where(np.arange(100) % 5 == 0, "test", "train").astype("<U10")
    split_of = assign_splits(labels, given, np.arange(100), HALF, 0, NAMES)
    assert ((split_of == "test") == (given == "test")).all()
    assert (split_of == "validation").sum() == 8
    complete = np.where(np.arange(100) % 5 == 1, "validation", given).astype("<U10")
    assert (assign_splits(labels, complete, np.arange(100), HALF, 0, NAMES) == complete).all()


def test_a_group_is_what_a_name_or_a_picture_joins() -> None:
    groups = merge_groups(["a", "a", "", "", "b"], [Pair(2, 1, "mirrored")])
    assert groups[0] == groups[1] == groups[2]
    assert len({*groups}) == 3


@pytest.mark.parametrize("seed", range(6))
def test_no_rare_class_is_held_out_whole(seed: int) -> None:
    labels = labels_of(*[50] * 5, *[2] * 10)
    names = [f"class {label}" for label in range(15)]
    drawn = assign_splits(labels, undivided(270), np.arange(270), HALF, seed, names)
    assert set(labels[drawn == "train"]) == set(labels)
    assert 0.15 < (drawn == "test").mean() < 0.22
    given = np.where(np.arange(270) < 250, "train", "test").astype("<U10")
    given[250::2] = "train"  # one image of each rare class
    divided = assign_splits(labels, given, np.arange(270), HALF, seed, names)
    assert set(labels[divided == "train"]) == set(labels)
    assert 0.05 < (divided == "validation").mean() < 0.12


@pytest.mark.parametrize(
    ("fraction", "held"), [(0.1, 0.1), (0.15, 1 / 7), (0.3, 1 / 3), (0.4, 1 / 3), (0.5, 0.5), (0.6, 2 / 3)]
)
def test_a_share_is_the_nearest_of_equal_parts(fraction: float, held: float) -> None:
    labels = labels_of(420, 420)
    split_of = assign_splits(labels, undivided(840), np.arange(840), {"test": fraction, "validation": 0}, 0, NAMES)
    assert (split_of == "test").mean() == pytest.approx(held)


@pytest.mark.parametrize(
    ("counts", "groups", "fractions", "says"),
    [
        ((10,), np.arange(10), HALF, "images must be of at least 2 classes; received only ant"),
        ((1, 1), np.arange(2), HALF, "test_fraction: 0.2 divides 2 images of 2 classes in 2 groups"),
        ((50, 50), np.zeros(100, int), HALF, "test_fraction: 0.2 divides 100 images of 2 classes in 1 groups"),
        ((50, 50), np.arange(100), {"test": 0, "validation": 0.1}, "normalize.test_fraction must be above 0"),
    ],
)
def test_what_cannot_be_divided_is_one_line(
    counts: tuple[int, ...], groups: np.ndarray, fractions: dict[str, float], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        assign_splits(labels_of(*counts), undivided(sum(counts)), groups, fractions, 0, NAMES)
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_of_one_group_is_named_when_it_misses_training() -> None:
    labels = labels_of(40, 40, 4)
    groups = np.array([*range(80), 80, 80, 80, 80])
    drawn = [assign_splits(labels, undivided(84), groups, HALF, seed, NAMES) for seed in range(5)]
    assert all((split_of[80:] == "train").all() for split_of in drawn)  # one group cannot be divided
    given = np.array(["train"] * 40 + ["test"] * 44, "<U10")
    with pytest.raises(ValueError, match="every class must have images in training; received none of 2, such as bee"):
        assign_splits(labels, given, groups, HALF, 0, NAMES)
    given[0] = ""
    with pytest.raises(ValueError, match="either every image or none must have a split; received 1 of 84 without"):
        assign_splits(labels, given, groups, HALF, 0, NAMES)
