"""Seeded, stratified splits of single images, as row numbers."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

Rows = NDArray[np.int64]


def split_rows(
    labels: NDArray[np.integer], validation_fraction: float, train_images: int | None, seed: int
) -> tuple[Rows, Rows]:
    """Choose the rows of the training and the validation set.

    Validation is drawn first, so it is the same for every `train_images`.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    validation_fraction : float
        Share of all rows that goes to validation; 0 leaves it empty.
    train_images : int or None
        Keep only this many of the remaining rows, with the same share of each class.
    seed : int

    Returns
    -------
    train, validation : ndarray of int
        Sorted row numbers; no row is in both.

    Raises
    ------
    ValueError
        If there is only one class, a set would be too small to hold every class, or `train_images` exceeds the
        remaining rows.
    """
    if len(classes := np.unique(labels)) < 2:
        raise ValueError(f"labels: must be of at least 2 classes; received only {classes.tolist()}")
    rows = np.arange(len(labels))
    validation = rows[:0]
    if validation_fraction > 0:
        n_kept = len(rows) - math.ceil(validation_fraction * len(rows))
        rows, validation = _stratify(rows, labels, n_kept, seed, f"validation_fraction: {validation_fraction}")
    if train_images is not None and train_images != len(rows):
        if train_images > len(rows):
            raise ValueError(
                f"train_images: must be at most {len(rows):,}, what validation leaves; received {train_images:,}"
            )
        rows, _ = _stratify(rows, labels, train_images, seed, f"train_images: {train_images:,}")
    return np.sort(rows), np.sort(validation)


def _stratify(rows: Rows, labels: NDArray[np.integer], n_kept: int, seed: int, setting: str) -> tuple[Rows, Rows]:
    """Split rows into `n_kept` and the rest, by class."""
    classes, counts = np.unique(labels[rows], return_counts=True)
    if min(counts) < 2 or min(n_kept, len(rows) - n_kept) < len(classes):
        raise ValueError(
            f"{setting} divides {len(rows):,} images of {len(classes)} classes, the rarest with {min(counts):,}, into "
            f"{n_kept:,} and {len(rows) - n_kept:,}; each part must have room for one image of each class"
        )
    kept, rest = train_test_split(rows, train_size=n_kept, stratify=labels[rows], random_state=seed)
    return kept, rest


def limit_training(
    labels: NDArray[np.int32], split_of: NDArray[np.str_], train_images: int | None, seed: int
) -> NDArray[np.str_]:
    """Limit the training rows, by class; the others get no split.

    Raises
    ------
    ValueError
        If that is too few to hold every class, or more than there are.
    """
    if train_images is None:
        return split_of
    rows = np.flatnonzero(split_of == "train")
    kept, _ = split_rows(labels[rows], 0, train_images, seed)
    limited = split_of.copy()
    limited[np.delete(rows, kept)] = ""
    return limited
