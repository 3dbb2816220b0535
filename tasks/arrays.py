"""data/normalized, written and read by this module alone: the arrays of each split, class names, pixel constants.

{split}_images.npy   uint8 of shape (n, side, side, 3); may be mapped into memory
{split}_labels.npy   uint8 of shape (n,)
classes.json         the names of the classes, in the order of their labels
constants.json       how pixels are scaled: the method, and the mean and deviation of each channel

Raises RefusedError where a file is damaged, no array, or does not fit the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import step

SPLITS = ("train", "validation", "test")
ADVICE = "`make doctor` restores it"

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


def images_path(normalized: Path, split: str) -> Path:
    """Name the file of a split's images."""
    return normalized / f"{split}_images.npy"


def _labels_path(normalized: Path, split: str) -> Path:
    return normalized / f"{split}_labels.npy"


def _classes_path(normalized: Path) -> Path:
    return normalized / "classes.json"


def _constants_path(normalized: Path) -> Path:
    return normalized / "constants.json"


@contextmanager
def split_writer(
    normalized: Path, split: str, n_images: int, image_shape: Sequence[int]
) -> Iterator[Callable[[Images, Labels], None]]:
    """Open the arrays of a split for writing, part by part.

    Parameters
    ----------
    normalized : Path
    split : str
    n_images : int
        In all parts together.
    image_shape : sequence of int
        Height, width and channels.

    Yields
    ------
    callable
        Appends images of shape (n, height, width, channels) and their n labels.
    """
    labels: list[Labels] = []
    with images_path(normalized, split).open("wb") as file:  # not a memory map, which a full disk would kill
        header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, *image_shape)}
        np.lib.format.write_array_header_1_0(file, header)

        def append(part: Images, part_labels: Labels) -> None:
            file.write(np.ascontiguousarray(part).data)
            labels.append(part_labels)

        yield append
    np.save(_labels_path(normalized, split), np.concatenate(labels))


def write_class_names(normalized: Path, names: Sequence[str]) -> None:
    """Write the names of the classes, in the order of their labels."""
    _write_json(_classes_path(normalized), list(names))


def write_mean_std(normalized: Path, method: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Write the constants that scale the pixels of each channel, in units of 0–255."""
    _write_json(_constants_path(normalized), {"method": method, "mean": list(mean), "std": list(std)})


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def splits(normalized: Path) -> list[str]:
    """Name the splits that there are: without `validation_fraction`, no validation."""
    return [split for split in SPLITS if split != "validation" or _labels_path(normalized, split).exists()]


def image_shape(normalized: Path) -> tuple[int, int, int]:
    """Read the height, width and channels of an image, which are those of the training images.

    Raises
    ------
    tasks.step.RefusedError
        If the training images are no squares of three channels.
    """
    path = images_path(normalized, "train")
    shape = _mapped(path).shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise step.RefusedError(f"{path} must have the shape (n, side, side, 3); received {shape}; {ADVICE}")
    return shape[1], shape[2], shape[3]


def load_split(normalized: Path, split: str, n_classes: int) -> tuple[Images, Labels]:
    """Map the images of a split into memory, and read its labels.

    Returns
    -------
    images : ndarray of shape (n, side, side, 3), dtype=uint8
    labels : ndarray of shape (n,), dtype=uint8

    Raises
    ------
    tasks.step.RefusedError
        If there is no image, not one label of a known class for each, or another shape than that of the training
        images.
    """
    path, shape = images_path(normalized, split), image_shape(normalized)
    images, labels = _mapped(path), _mapped(_labels_path(normalized, split))
    if images.dtype != np.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1]:
        raise step.RefusedError(
            f"{path} must be uint8 of shape (n, {', '.join(map(str, shape))}) with n labels; "
            f"received {images.dtype} of {images.shape} with {labels.shape}; {ADVICE}"
        )
    if not len(labels) or labels.max() >= n_classes:
        raise step.RefusedError(
            f"{_labels_path(normalized, split)} must hold labels below {n_classes}; "
            f"received {np.unique(labels).tolist()}; {ADVICE}"
        )
    return images, np.array(labels)


def class_names(normalized: Path) -> list[str]:
    """Read the names of the classes, in the order of their labels."""
    names: list[str] = _read(_classes_path(normalized), _json)
    return names


def mean_std(normalized: Path) -> tuple[list[float], list[float]]:
    """Read the mean and the deviation of each channel, in units of 0–255.

    Raises
    ------
    tasks.step.RefusedError
        If they would not scale pixels to finite numbers.
    """
    path = _constants_path(normalized)
    mean, std = _read(path, lambda path: [_json(path)[name] for name in ("mean", "std")])
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and np.greater(std, 0).all()):
        raise step.RefusedError(
            f"{path} must hold finite means and positive deviations; received {mean} and {std}; {ADVICE}"
        )
    return mean, std


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = _read(path, lambda path: np.load(path, mmap_mode="r"))
    return array


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (ValueError, EOFError, LookupError, TypeError) as error:
        raise step.RefusedError(f"{path} cannot be read: {error}; {ADVICE}") from error
