"""Damaged arrays and constants: one line that names the file and the command that restores it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.arrays import class_names, constants, load_split
from tasks.step import RefusedError


@pytest.fixture
def normalized(tmp_path: Path) -> Path:
    np.save(tmp_path / "train_images.npy", np.zeros((20, 32, 32, 3), np.uint8))
    np.save(tmp_path / "train_labels.npy", np.arange(20, dtype=np.uint8) % 10)
    (tmp_path / "constants.json").write_text(json.dumps({"mean": [1, 2, 3], "std": [4, 5, 6]}))
    (tmp_path / "classes.json").write_text('["a", "b"]')
    return tmp_path


def read_all(normalized: Path) -> None:
    load_split(normalized, "train", 10)
    constants(normalized)
    class_names(normalized)


def saved(values: object, dtype: type = np.uint8) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.asarray(values, dtype))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_whole_files_are_read(normalized: Path) -> None:
    read_all(normalized)
    images, labels = load_split(normalized, "train", 10)
    assert (images.shape, labels.tolist()) == ((20, 32, 32, 3), [*range(10), *range(10)])
    assert (constants(normalized), class_names(normalized)) == (([1, 2, 3], [4, 5, 6]), ["a", "b"])


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("train_images.npy", cut, "cannot be read: mmap length is greater than file size"),
        ("train_images.npy", text(""), "cannot be read"),
        ("train_images.npy", text("no array"), "cannot be read"),
        ("train_images.npy", saved(np.zeros((20, 32, 32, 3)), float), "must be uint8 of shape (n, 32, 32, 3)"),
        ("train_images.npy", saved(np.zeros((20, 28, 28, 3))), "received uint8 of (20, 28, 28, 3)"),
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
