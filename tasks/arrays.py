"""data/normalized as train and evaluate read it: mapped arrays, class names and constants.

RefusedError: a file that is damaged, no array, or does not fit the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import step
from tasks.core import cifar10

SHAPE = (cifar10.SIDE, cifar10.SIDE, 3)
ADVICE = "`make doctor` restores it"


def load_split(normalized: Path, split: str, n_classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Map the images of a split into memory, and read its labels.

    Returns
    -------
    images : ndarray of shape (n, 32, 32, 3), dtype=uint8
    labels : ndarray of shape (n,), dtype=uint8

    Raises
    ------
    tasks.step.RefusedError
        If there is no image, or not as many labels, each of a known class.
    """
    paths = normalized / f"{split}_images.npy", normalized / f"{split}_labels.npy"
    images, labels = (_read(path, lambda path: np.load(path, mmap_mode="r")) for path in paths)
    if images.dtype != np.uint8 or images.shape[1:] != SHAPE or labels.shape != images.shape[:1]:
        raise step.RefusedError(
            f"{paths[0]} must be uint8 of shape (n, 32, 32, 3) with n labels; "
            f"received {images.dtype} of {images.shape} with {labels.shape}; {ADVICE}"
        )
    if not len(labels) or labels.max() >= n_classes:
        raise step.RefusedError(
            f"{paths[1]} must hold labels below {n_classes}; received {np.unique(labels).tolist()}; {ADVICE}"
        )
    return images, np.array(labels)


def class_names(normalized: Path) -> list[str]:
    """The names of the classes, in the order of their labels."""
    names: list[str] = _read(normalized / "classes.json", _json)
    return names


def constants(normalized: Path) -> tuple[list[float], list[float]]:
    """The mean and deviation of each channel, in units of 0–255.

    Raises
    ------
    tasks.step.RefusedError
        If they would not scale pixels to finite numbers.
    """
    path = normalized / "constants.json"
    mean, std = _read(path, lambda path: [_json(path)[name] for name in ("mean", "std")])
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and np.greater(std, 0).all()):
        raise step.RefusedError(
            f"{path} must hold finite means and positive deviations; received {mean} and {std}; {ADVICE}"
        )
    return mean, std


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (ValueError, EOFError, LookupError, TypeError) as error:
        raise step.RefusedError(f"{path} cannot be read: {error}; {ADVICE}") from error
