"""data/normalized, written and read by this module alone.

{split}_images.npy   uint8 of shape (n, height, width, 3); may be mapped into memory
{split}_labels.npy   int32 of shape (n,)
{split}_files.txt    the name of each image's file, a line each
{split}_digests.npy  uint8 of shape (n, 32): the SHA-256 of each image's file, or of its pixels
test_ids.npy         uint64 of shape (n,), of own images: a hash of each test image's file
folds.npy            uint8 of shape (n, n_folds), only with folds: what each does with each training image
{split}_groups.npy   int64 of shape (n,), likewise: the images that belong together have one number
dataset.json         the classes in the order of their labels, the shape of an image, how images are resized to it and
                     how pixels are scaled, how own images were split, and the digest of each file above
findings.csv         problems: unreadable and cropped files, corrected labels, duplicates, conflicting labels, images
                     left out, leaks, close pairs

Raises RefusedError where a file is damaged, no array, or does not fit the others.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data.digests import compute_md5, hash_text

SPLITS = ("train", "validation", "test")
FINDINGS = "findings.csv"
TEST_IDS = "test_ids.npy"
FOLDS = "folds.npy"
TRAINED, VALIDATED, HELD_OUT = range(3)  # what a fold does with an image
ADVICE = "`make doctor` restores it"

T = TypeVar("T")
Images = NDArray[np.uint8]
Labels = NDArray[np.int32]


class Finding(NamedTuple):
    """A problem of an image, perhaps with another image."""

    kind: str  # unreadable, cropped, corrected, duplicate, conflict, left out, leak or close
    file: str
    split: str  # of the file; "" for one that cannot be read
    other: str
    other_split: str
    detail: str


def images_path(normalized: Path, split: str) -> Path:
    return normalized / f"{split}_images.npy"


def _labels_path(normalized: Path, split: str) -> Path:
    return normalized / f"{split}_labels.npy"


def _digests_path(normalized: Path, split: str) -> Path:
    return normalized / f"{split}_digests.npy"


def groups_path(normalized: Path, split: str) -> Path:
    return normalized / f"{split}_groups.npy"


def description_path(normalized: Path) -> Path:
    return normalized / "dataset.json"


def write_split(
    normalized: Path,
    split: str,
    files: Sequence[str],
    labels: Labels,
    image_shape: Sequence[int],
    parts: Iterable[Images],
) -> None:
    """Write the arrays of a split.

    `files` has the name of each image's file, `image_shape` is (height, width, channels), and `parts` together hold the
    images, in the order of their labels.
    """
    with images_path(normalized, split).open("wb") as file:  # no memory map: a full disk would kill the process
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *image_shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for images in parts:
            file.write(np.ascontiguousarray(images).data)
    np.save(_labels_path(normalized, split), labels.astype(np.int32))
    names = "".join(f"{name}\n" for name in files)
    (normalized / f"{split}_files.txt").write_text(names, encoding="utf-8", newline="\n")


def write_image_digests(normalized: Path, split: str, digests: Sequence[str]) -> None:
    """Write the SHA-256 of each image's file, given in hexadecimal."""
    np.save(_digests_path(normalized, split), np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32))


def image_digests(normalized: Path, split: str) -> list[str]:
    """Read the SHA-256 of each image's file, in hexadecimal."""
    return [row.tobytes().hex() for row in _map(_digests_path(normalized, split))]


def write_description(
    normalized: Path,
    class_names: Sequence[str],
    resize_mode: str,
    scaling: Mapping[str, object],
    split_rule: Mapping[str, object] | None = None,
) -> None:
    """Write dataset.json, about the arrays that were written.

    Class names are in the order of their labels. `scaling` has a `method`, and its `mean` and `std` for each channel,
    in units of 0–255. `split_rule` says how own images were split.
    """
    content = {
        "classes": list(class_names),
        "shape": list(image_shape(normalized)),
        "fit": resize_mode,
        "scaling": dict(scaling),
        **({"split": dict(split_rule)} if split_rule else {}),
        "digests": {path.name: compute_md5(path) for path in sorted(normalized.iterdir())},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    description_path(normalized).write_text(text, encoding="utf-8", newline="\n")


def write_findings(normalized: Path, findings: Iterable[Finding]) -> None:
    with (normalized / FINDINGS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Finding._fields)
        writer.writerows(findings)


def splits(normalized: Path) -> list[str]:
    """List the splits: without `validation_fraction` there is no validation."""
    return [split for split in SPLITS if split != "validation" or _labels_path(normalized, split).exists()]


def image_shape(normalized: Path) -> tuple[int, int, int]:
    """Read the height, width and channels of the training images."""
    path = images_path(normalized, "train")
    shape = _map(path).shape
    if len(shape) != 4 or shape[3] != 3:
        raise errors.RefusedError(f"{path} must have the shape (n, height, width, 3); received {shape}; {ADVICE}")
    return shape[1], shape[2], shape[3]


def load_split(normalized: Path, split: str, n_classes: int) -> tuple[Images, Labels]:
    """Map the images of a split into memory, and read its labels.

    Returns
    -------
    images : ndarray of shape (n, height, width, 3), dtype=uint8
    labels : ndarray of shape (n,), dtype=int32
    """
    path, shape = images_path(normalized, split), image_shape(normalized)
    images, labels = _map(path), _map(_labels_path(normalized, split))
    if images.dtype != np.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1]:
        raise errors.RefusedError(
            f"{path} must be uint8 of shape (n, {', '.join(map(str, shape))}) with n labels; "
            f"received {images.dtype} of {images.shape} with {labels.shape}; {ADVICE}"
        )
    if not len(labels) or labels.min() < 0 or labels.max() >= n_classes:
        raise errors.RefusedError(
            f"{_labels_path(normalized, split)} must hold labels from 0 to {n_classes - 1}; "
            f"received {np.unique(labels)[[0, -1]].tolist() if len(labels) else None}; {ADVICE}"
        )
    return images, np.array(labels)


def files(normalized: Path, split: str) -> list[str]:
    """Read the file names of a split's images, in order."""
    path = normalized / f"{split}_files.txt"
    names = _read_undamaged(path, lambda path: path.read_text(encoding="utf-8").split("\n")[:-1])
    if len(names) != len(_map(_labels_path(normalized, split))):
        raise errors.RefusedError(f"{path} must hold a line for each label; received {len(names):,}; {ADVICE}")
    return names


def test_ids(normalized: Path) -> NDArray[np.uint64]:
    """Read a hash of each test file, or of CIFAR-10's record."""
    path = normalized / TEST_IDS
    return np.array(_map(path) if path.exists() else [hash_text(name) for name in files(normalized, "test")], np.uint64)


def folds(normalized: Path) -> NDArray[np.uint8] | None:
    """Read what each fold does with each training image; None without folds."""
    path = normalized / FOLDS
    return np.array(_map(path)) if path.exists() else None


def held_out_split(normalized: Path) -> str | None:
    """Name the split of held-out images; None without folds."""
    return next((split for split in SPLITS if groups_path(normalized, split).exists()), None)


def unseen_split(normalized: Path) -> str | None:
    """Name the split that chooses: what folds hold out, or validation."""
    return held_out_split(normalized) or next((split for split in splits(normalized) if split == "validation"), None)


def groups(normalized: Path, split: str) -> NDArray[np.int64]:
    """Read the number of the group of each held-out image."""
    return np.array(_map(groups_path(normalized, split)))


def class_names(normalized: Path) -> list[str]:
    """Read the names of the classes, in the order of their labels."""
    names: list[str] = _description(normalized, "classes")
    return names


def resize_mode(normalized: Path) -> str:
    """Read how images of another shape are resized."""
    return str(_description(normalized, "fit"))


def digests(normalized: Path) -> dict[str, str]:
    """Read the MD5 of each file, as DVC computes it."""
    by_name: dict[str, str] = _description(normalized, "digests")
    return by_name


def mean_std(normalized: Path) -> tuple[list[float], list[float]]:
    """Read each channel's mean and deviation, in units of 0–255."""
    mean, std = (_description(normalized, "scaling", name) for name in ("mean", "std"))
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and np.greater(std, 0).all()):
        raise errors.RefusedError(
            f"{description_path(normalized)} must hold finite means and positive deviations; received {mean} and "
            f"{std}; {ADVICE}"
        )
    return mean, std


def findings(normalized: Path) -> list[Finding]:
    def read_rows(path: Path) -> list[Finding]:
        with path.open(encoding="utf-8", newline="") as file:
            return [Finding(**row) for row in csv.DictReader(file)]

    return _read_undamaged(normalized / FINDINGS, read_rows)


def _description(normalized: Path, *keys: str) -> Any:
    return _read_undamaged(
        description_path(normalized), lambda path: reduce(getitem, keys, json.loads(path.read_text(encoding="utf-8")))
    )


def _map(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = _read_undamaged(path, lambda path: np.load(path, mmap_mode="r"))
    return array


def _read_undamaged(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except OSError:  # the disk's fault, and not the content's
        raise
    except Exception as error:  # NumPy alone raises ValueError, SyntaxError and TokenError for a damaged header
        raise errors.RefusedError(f"{path} cannot be read: {error}; {ADVICE}") from error
