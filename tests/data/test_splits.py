"""The division into splits, of single images and of whole groups: shares, seeds, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest

from tasks.data.arrays import HELD_OUT, TRAINED, VALIDATED
from tasks.data.duplicates import Pair
from tasks.data.leaks import find_leaks
from tasks.data.splits import (
    assign_folds,
    assign_splits,
    limit_training,
    merge_groups,
    split_rows,
)

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


def draw(
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    given: np.ndarray | None = None,
    keys: list[str] | None = None,
    fractions: dict[str, float] = HALF,
) -> np.ndarray:
    """Split images whose contents are their numbers, or `keys`."""
    rows = np.arange(len(labels))
    return assign_splits(
        labels,
        undivided(len(labels)) if given is None else given,
        rows if groups is None else groups,
        [f"{seed} {key}" for key in keys or rows],
        fractions,
        NAMES,
    )


def test_what_is_drawn_has_about_the_shares_of_the_parameters() -> None:
    labels = labels_of(1000, 400, 100, 50)
    split_of, again, other = (draw(labels, seed=seed) for seed in (0, 0, 1))
    assert split_of.tolist() == again.tolist() != other.tolist()
    assert shares(split_of, labels, "test")[:2] == pytest.approx([0.2] * 2, abs=0.05)
    tested = np.mean([[draw(labels, seed=seed) == split for split in HALF] for seed in range(30)], axis=(0, 2))
    assert tested == pytest.approx([0.2, 0.08], abs=0.01)
    assert (draw(labels, fractions={"test": 0.6, "validation": 0}) == "test").mean() == pytest.approx(0.6, abs=0.04)


@pytest.mark.parametrize("seed", range(4))
def test_a_test_image_stays_one_when_others_come_or_go(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 500).astype(np.int32)
    names = [f"plant {number}" if number < 30 else "" for number in rng.integers(0, 200, 500)]
    copies = [Pair(row + 1, row, "resized") for row in range(0, 400, 9)]
    keys = [name or f"content {row}" for row, name in enumerate(names)]

    def split_by_row(rows: list[int]) -> dict[int, str]:
        place = {row: number for number, row in enumerate(rows)}
        pairs = [Pair(place[pair.row], place[pair.other], "resized") for pair in copies if {*pair[:2]} <= {*place}]
        groups = merge_groups([names[row] for row in rows], pairs)
        split_of = draw(labels[rows], groups, seed, keys=[keys[row] for row in rows])
        return dict(zip(rows, split_of.tolist(), strict=True))

    before = split_by_row([row for row in range(450) if row % 9 != 1])  # the copies come later
    after = split_by_row(rng.permutation(500).tolist())
    assert {row for row in before if before[row] == "test"} <= {row for row in after if after[row] == "test"}
    less = split_by_row([row for row in before if row % 50 or names[row]])
    assert less == {row: before[row] for row in less}


@pytest.mark.parametrize("seed", range(6))
def test_no_group_is_on_two_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 400).astype(np.int32)
    names = [f"plant {number}" if number < 60 else "" for number in rng.integers(0, 120, 400)]
    pairs = [
        Pair(row, other, "resized") for other, row in pairwise(sorted(rng.choice(400, 30, replace=False).tolist()))
    ]
    groups = merge_groups(names, pairs[::3])
    split_of = draw(labels, groups, seed, keys=[name or str(row) for row, name in enumerate(names)])
    assert all(len(set(split_of[groups == group])) == 1 for group in np.unique(groups))
    assert find_leaks(split_of, names, pairs[::3]) == []
    assert 0.1 < (split_of == "test").mean() < 0.35
    assert set(split_of) == {"train", "validation", "test"}


@pytest.mark.parametrize("seed", range(6))
def test_a_group_larger_than_a_share_is_trained_on_where_its_class_has_others(seed: int) -> None:
    labels, groups = labels_of(100, 100), np.array([*[0] * 90, *range(1, 111)]) // 2
    split_of = draw(labels, groups, seed, keys=[str(group) for group in groups])
    assert (split_of[:90] == "train").all()
    assert 8 <= (split_of == "test").sum() <= 40
    thirds = draw(labels, np.arange(200) % 3, seed, keys=[str(row % 3) for row in range(200)])
    assert {*thirds} == {"train", "validation", "test"}  # three large groups, one each


@pytest.mark.parametrize("seed", range(6))
def test_each_class_of_two_groups_is_held_out_and_trained_on(seed: int) -> None:
    labels = np.repeat(np.arange(60, dtype=np.int32), 2)
    split_of = draw(labels, seed=seed, fractions={"test": 0.01 + seed / 6, "validation": 0})
    assert shares(split_of, labels, "test") == shares(split_of, labels, "train") == [0.5] * 60


def test_a_given_split_is_kept_and_only_what_it_lacks_is_drawn() -> None:
    labels = labels_of(50, 50)
    given = np.where(np.arange(100) % 5 == 0, "test", "train").astype("<U10")
    split_of = draw(labels, given=given)
    assert ((split_of == "test") == (given == "test")).all()
    assert 2 <= (split_of == "validation").sum() <= 16
    complete = np.where(np.arange(100) % 5 == 1, "validation", given).astype("<U10")
    assert (draw(labels, given=complete) == complete).all()


def test_a_group_is_what_a_name_or_a_picture_joins() -> None:
    groups = merge_groups(["a", "a", "", "", "b"], [Pair(2, 1, "mirrored")])
    assert groups[0] == groups[1] == groups[2]
    assert len({*groups}) == 3


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
        draw(labels_of(*counts), groups, fractions=fractions)
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_of_one_group_is_named_when_it_misses_training() -> None:
    labels = labels_of(40, 40, 4)
    groups = np.array([*range(80), 80, 80, 80, 80])
    drawn = [draw(labels, groups, seed) for seed in range(5)]
    assert all((split_of[80:] == "train").all() for split_of in drawn)  # one group cannot be divided
    given = np.array(["train"] * 40 + ["test"] * 44, "<U10")
    with pytest.raises(ValueError, match="every class must have images in training; received none of 2, such as bee"):
        draw(labels, groups, given=given)
    given[0] = ""
    with pytest.raises(ValueError, match="either every image or none must have a split; received 1 of 84 without"):
        draw(labels, groups, given=given)


@pytest.mark.parametrize("seed", range(4))
def test_folds_hold_out_each_group_once_and_every_class_alike(seed: int) -> None:
    labels, groups = np.repeat(np.arange(4, dtype=np.int32), 50), np.arange(200) // 2
    plan = assign_folds(labels, groups, 5, 0.2, seed)
    held_out, validated = plan == HELD_OUT, plan == VALIDATED
    assert (held_out.sum(axis=1) == 1).all()
    assert held_out.sum(axis=0).tolist() == [40] * 5
    assert {tuple(np.bincount(labels[fold])) for fold in held_out.T} <= {(10,) * 4, (8, 10, 10, 12), (10, 8, 12, 10)}
    assert (plan[::2] == plan[1::2]).all()  # both images of a group
    assert ((validated.sum(axis=0) >= 16) & (validated.sum(axis=0) <= 60)).all()
    assert (plan == assign_folds(labels, groups, 5, 0.2, seed)).all()
    assert (plan != assign_folds(labels, groups, 5, 0.2, seed + 1)).any()


def test_a_class_of_fewer_groups_than_folds_is_always_trained_on_with_what_stays_with_it() -> None:
    labels, groups = labels_of(20, 20, 2), np.arange(42)
    groups[0] = groups[41]
    plan = assign_folds(labels, groups, 5, 0, seed=0)
    assert (plan[[0, 40, 41]] == TRAINED).all()
    assert ((plan == HELD_OUT).sum(axis=1)[1:40] == 1).all()


def test_more_folds_than_groups_of_two_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"folds: 5 needs two classes with 5 images .* received 24 images in 24 "):
        assign_folds(labels_of(20, 4), np.arange(24), 5, 0.1, seed=0)
