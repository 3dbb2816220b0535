"""data/normalized: what is written is read, and damage is one line that names the file and what restores it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.data import arrays
from tasks.data.arrays import class_names, image_shape, load_split, mean_std
from tasks.errors import RefusedError

FINDINGS = [
    arrays.Finding("leak", "test/a, b.png", "test", "train/ü.png", "train", "mirrored"),
    arrays.Finding("unreadable", "train/broken.jpg", "", "", "", "it ends too early"),
]


@pytest.fixture
def normalized(tmp_path: Path) -> Path:
    labels = np.arange(20, dtype=np.int32) % 10
    for split in ("train", "test"):
        files = [f"{split}/{number}.png" for number in range(20)]
        images = np.repeat(labels.astype(np.uint8), 32 * 32 * 3).reshape(-1, 32, 32, 3)
        arrays.write_split(tmp_path, split, files, labels, (32, 32, 3), [images[:15], images[15:]])
    arrays.write_findings(tmp_path, FINDINGS)
    scaling = {"method": "standardize", "mean": [1, 2, 3], "std": [4, 5, 6]}
    arrays.write_description(tmp_path, ["a", "é"], "crop", scaling)
    return tmp_path


def read_all(normalized: Path) -> None:
    for split in arrays.splits(normalized):
        load_split(normalized, split, 10)
        arrays.files(normalized, split)
    mean_std(normalized)
    class_names(normalized)
    arrays.findings(normalized)


def saved(values: object, dtype: type = np.uint8) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.asarray(values, dtype))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def header(old: str, new: str) -> Callable[[Path], object]:
    """Change a character of the header, which NumPy writes in the first 128 bytes."""
    return lambda path: path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_what_is_written_in_parts_is_read(normalized: Path) -> None:
    read_all(normalized)
    images, labels = load_split(normalized, "train", 10)
    assert (images.shape, labels.tolist()) == ((20, 32, 32, 3), [*range(10), *range(10)])
    assert (images == labels[:, None, None, None]).all()
    assert (mean_std(normalized), class_names(normalized)) == (([1, 2, 3], [4, 5, 6]), ["a", "é"])
    assert (arrays.splits(normalized), image_shape(normalized)) == (["train", "test"], (32, 32, 3))
    assert (arrays.files(normalized, "test")[19], arrays.resize_mode(normalized)) == ("test/19.png", "crop")
    assert arrays.findings(normalized) == FINDINGS


def test_the_files_are_those_of_numpy_and_json(normalized: Path, tmp_path: Path) -> None:
    for name in ("train_images", "train_labels"):
        np.save(tmp_path / "again.npy", np.load(normalized / f"{name}.npy"))
        assert (tmp_path / "again.npy").read_bytes() == (normalized / f"{name}.npy").read_bytes()
    description = json.loads((normalized / "dataset.json").read_text())
    assert description["scaling"] == {"method": "standardize", "mean": [1, 2, 3], "std": [4, 5, 6]}
    assert description["digests"] == {
        path.name: hashlib.md5(path.read_bytes()).hexdigest()
        for path in normalized.iterdir()
        if path.name not in {"dataset.json", "again.npy"}
    }


def full_disk() -> Iterator[arrays.Images]:
    yield np.zeros((1, 32, 32, 3), np.uint8)
    raise OSError("full")


def test_a_split_that_fails_halfway_is_not_listed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"):
        arrays.write_split(tmp_path, "validation", ["a.png"], np.zeros(1, np.int32), (32, 32, 3), full_disk())
    assert arrays.splits(tmp_path) == ["train", "test"]


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("train_images.npy", cut, "cannot be read: mmap length is greater than file size"),
        ("train_images.npy", text("no array"), "cannot be read"),
        ("train_images.npy", header("}", "|"), "cannot be read"),  # a bit of it
        ("train_images.npy", saved(np.zeros((20, 32, 32, 3)), float), "must be uint8 of shape (n, 32, 32, 3)"),
        ("test_images.npy", saved(np.zeros((20, 28, 28, 3))), "received uint8 of (20, 28, 28, 3)"),
        ("train_images.npy", saved(np.zeros((20, 32, 32, 4))), "received (20, 32, 32, 4)"),
        ("train_labels.npy", saved(np.zeros(19)), "with n labels"),
        ("train_labels.npy", saved([10] * 20), "must hold labels from 0 to 9; received [10, 10]"),
        ("test_labels.npy", saved([-1] * 20, np.int32), "must hold labels from 0 to 9; received [-1, -1]"),
        ("train_labels.npy", saved([print] * 20, object), "cannot be read"),  # a pickle, which could run code
        ("train_files.txt", text("one.png\n"), "must hold a line for each label; received 1"),
        ("dataset.json", text("{"), "cannot be read"),
        ("dataset.json", text("[]"), "cannot be read"),
        ("dataset.json", text('{"scaling": {"mean": [0, 0, 0]}}'), "cannot be read"),
        ("dataset.json", text('{"scaling": {"mean": [0, 0, 0], "std": [1, 0, 1]}}'), "positive deviations"),
        ("dataset.json", text('{"scaling": {"mean": [0, NaN, 0], "std": [1, 1, 1]}}'), "finite means"),
        ("findings.csv", text("kind,where\nleak,here\n"), "cannot be read"),
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
    np.save(normalized / "train_labels.npy", np.zeros(0, np.int32))
    with pytest.raises(RefusedError, match=r"must hold labels from 0 to 9; received None"):
        load_split(normalized, "train", 10)
