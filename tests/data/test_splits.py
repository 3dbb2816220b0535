"""The division into parts: sizes, shares of the classes, seeds, and what is refused."""

import numpy as np
import pytest

from tasks.data.splits import limit_training, split_rows

LABELS = np.repeat(np.arange(10, dtype=np.uint8), 100)


def test_the_parts_are_disjoint_complete_and_sorted() -> None:
    train, validation = split_rows(LABELS, 0.1, None, seed=3)
    assert sorted([*train, *validation]) == list(range(1000))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


def test_each_class_keeps_its_share() -> None:
    train, validation = split_rows(LABELS, 0.2, 400, seed=0)
    assert np.bincount(LABELS[train]).tolist() == [40] * 10
    assert np.bincount(LABELS[validation]).tolist() == [20] * 10


def test_the_seed_decides_alone() -> None:
    first, again, other = (split_rows(LABELS, 0.1, None, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_subset_leaves_validation_as_it_was() -> None:
    assert split_rows(LABELS, 0.1, None, 0)[1].tolist() == split_rows(LABELS, 0.1, 100, 0)[1].tolist()


def test_validation_may_be_empty() -> None:
    train, validation = split_rows(LABELS, 0, None, 0)
    assert len(train) == 1000
    assert len(validation) == 0


def test_a_subset_larger_than_what_is_left_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 900, what validation leaves; received 901"):
        split_rows(LABELS, 0.1, 901, 0)


@pytest.mark.parametrize(
    ("fraction", "images", "message"),
    [
        (0.001, None, r"validation_fraction: 0\.001 divides 1,000 images of 10 classes.* into 999 and 1;"),
        (0.999, None, r"validation_fraction: 0\.999 divides 1,000 images .* into 1 and 999;"),
        (0.1, 9, r"train_images: 9 divides 900 images .* into 9 and 891;"),
        (0.1, 899, r"train_images: 899 divides 900 images .* into 899 and 1;"),
    ],
)
def test_a_part_without_room_for_each_class_names_the_key(fraction: float, images: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_rows(LABELS, fraction, images, 0)


def test_a_class_of_one_image_cannot_be_parted() -> None:
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
