"""data/normalized: what is written is read, and damage is one line that names the file and what restores it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks import arrays
from tasks.arrays import class_names, image_shape, load_split, mean_std
from tasks.step import RefusedError


@pytest.fixture
def normalized(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        with arrays.split_writer(tmp_path, split, 20, (32, 32, 3)) as append:
            for start in (0, 15):
                labels = np.arange(20, dtype=np.uint8)[start : start + 15] % 10
                append(np.repeat(labels, 32 * 32 * 3).reshape(-1, 32, 32, 3), labels)
    arrays.write_mean_std(tmp_path, "standardize", [1, 2, 3], [4, 5, 6])
    arrays.write_class_names(tmp_path, ["a", "b"])
    return tmp_path


def read_all(normalized: Path) -> None:
    for split in arrays.splits(normalized):
        load_split(normalized, split, 10)
    mean_std(normalized)
    class_names(normalized)


def saved(values: object, dtype: type = np.uint8) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.asarray(values, dtype))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_what_is_written_in_parts_is_read(normalized: Path) -> None:
    read_all(normalized)
    images, labels = load_split(normalized, "train", 10)
    assert (images.shape, labels.tolist()) == ((20, 32, 32, 3), [*range(10), *range(10)])
    assert (images == labels[:, None, None, None]).all()
    assert (mean_std(normalized), class_names(normalized)) == (([1, 2, 3], [4, 5, 6]), ["a", "b"])
    assert (arrays.splits(normalized), image_shape(normalized)) == (["train", "test"], (32, 32, 3))


def test_the_files_are_those_of_numpy_and_json(normalized: Path, tmp_path: Path) -> None:
    for name in ("train_images", "train_labels"):
        np.save(tmp_path / "again.npy", np.load(normalized / f"{name}.npy"))
        assert (tmp_path / "again.npy").read_bytes() == (normalized / f"{name}.npy").read_bytes()
    constants = {"method": "standardize", "mean": [1, 2, 3], "std": [4, 5, 6]}
    assert json.loads((normalized / "constants.json").read_text()) == constants


def test_a_split_that_fails_halfway_is_not_listed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), arrays.split_writer(tmp_path, "validation", 20, (32, 32, 3)):
        raise OSError("full")
    assert arrays.splits(tmp_path) == ["train", "test"]


def test_images_of_any_square_size_are_read(tmp_path: Path) -> None:
    with arrays.split_writer(tmp_path, "train", 2, (48, 48, 3)) as append:
        append(np.zeros((2, 48, 48, 3), np.uint8), np.zeros(2, np.uint8))
    assert load_split(tmp_path, "train", 1)[0].shape == (2, 48, 48, 3)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("train_images.npy", cut, "cannot be read: mmap length is greater than file size"),
        ("train_images.npy", text(""), "cannot be read"),
        ("train_images.npy", text("no array"), "cannot be read"),
        ("train_images.npy", saved(np.zeros((20, 32, 32, 3)), float), "must be uint8 of shape (n, 32, 32, 3)"),
        ("test_images.npy", saved(np.zeros((20, 28, 28, 3))), "received uint8 of (20, 28, 28, 3)"),
        ("test_images.npy", saved(np.zeros((20, 28, 28, 3))), "must be uint8 of shape (n, 32, 32, 3)"),
        ("train_images.npy", saved(np.zeros((20, 32, 28, 3))), "must have the shape (n, side, side, 3)"),
        ("train_images.npy", saved(np.zeros((20, 32, 32, 4))), "received (20, 32, 32, 4)"),
        ("train_images.npy", saved(np.zeros((20, 3072))), "received (20, 3072)"),
        ("train_labels.npy", saved(np.zeros(19)), "with n labels"),
        ("train_labels.npy", saved([10] * 20), "must hold labels below 10; received [10]"),
        ("train_labels.npy", saved([print] * 20, object), "cannot be read"),  # a pickle, which could run code
        ("constants.json", text("{"), "cannot be read"),
        ("constants.json", text("[]"), "cannot be read"),
        ("constants.json", text('{"mean": [0, 0, 0]}'), "cannot be read"),
        ("constants.json", text('{"mean": [0, 0, 0], "std": [1, 0, 1]}'), "positive deviations"),
        ("constants.json", text('{"mean": [0, NaN, 0], "std": [1, 1, 1]}'), "finite means"),
        ("classes.json", text("\x00"), "cannot be read"),
    ],
)
def test_damage_is_one_line_that_names_the_file(
    normalized: Path, name: str, damage: Callable[[Path], object], says: str
) -> None:
    damage(normalized / name)
    with pytest.raises(RefusedError) as caught:
        read_all(normalized)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(normalized))
    assert says in line
    assert line.endswith("`make doctor` restores it")


def test_an_empty_split_is_refused(normalized: Path) -> None:
    np.save(normalized / "train_images.npy", np.zeros((0, 32, 32, 3), np.uint8))
    np.save(normalized / "train_labels.npy", np.zeros(0, np.uint8))
    with pytest.raises(RefusedError, match=r"must hold labels below 10; received \[\]"):
        load_split(normalized, "train", 10)
