"""Seeded splits: of CIFAR-10's images, or of groups of own images.

Own images are drawn one by one, so that a test image stays one when others come or go. A hash of the seed and of the
image's content, or of its group's name, gives a number from 0 to 1; below `test_fraction` the image is for the test.
Images that belong together share the lowest of their numbers: a test image remains one when a copy of it joins, and so
an image with copies is drawn more often. In each class the lowest is held out and the highest trained on, in any case.
A group larger than the fraction is held out only where its class has nothing smaller.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from tasks.data.arrays import HELD_OUT, TRAINED, VALIDATED
from tasks.data.digests import hash_text
from tasks.data.duplicates import Pair

RULE = "an image is held out if SHA-256 of split, seed and its group or content, from 0 to 1, is below the fraction"
FOLD_RULE = "each image, with what stays with it, is held out by one fold, stratified by class"
Rows = NDArray[np.int64]


def split_rows(
    labels: NDArray[np.integer], validation_fraction: float, train_images: int | None, seed: int
) -> tuple[Rows, Rows]:
    """Choose the rows of the training and the validation set.

    Validation is drawn first, so it is the same for every `train_images`.

    Parameters
    ----------
    validation_fraction : float
        Share of all rows that goes to validation; 0 leaves it empty.
    train_images : int or None
        Keep only this many of the remaining rows, with the same share of each class.

    Returns
    -------
    train, validation : ndarray of int
        Sorted row numbers; no row is in both.
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
    """Limit the training rows, by class; the others get no split."""
    if train_images is None:
        return split_of
    rows = np.flatnonzero(split_of == "train")
    kept, _ = split_rows(labels[rows], 0, train_images, seed)
    limited = split_of.copy()
    limited[np.delete(rows, kept)] = ""
    return limited


def merge_groups(names: Sequence[str], pairs: Iterable[Pair]) -> NDArray[np.int64]:
    """Number the groups of rows that share a name or a picture.

    A name is the user's group of a row; "" is none.
    """
    first: dict[str, int] = {}
    named = [(row, first.setdefault(name, row)) for row, name in enumerate(names) if name]
    edges = np.array([*named, *((pair.row, pair.other) for pair in pairs)], np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(names), len(names)))
    numbers: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def assign_splits(
    labels: NDArray[np.int32],
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    keys: Sequence[str],
    fractions: Mapping[str, float],
    class_names: Sequence[str],
) -> NDArray[np.str_]:
    """Assign splits to rows: the given ones, or whole groups.

    What is not given is drawn from the training rows: first test, then validation.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    given : ndarray of shape (n,)
        "train", "validation" or "test"; "" in every row where the data set gives no split.
    groups : ndarray of shape (n,)
        Rows of one number get one split.
    keys : sequence of str
        What is hashed for each row: the seed, and its content or the name of its group.
    fractions : mapping
        The shares of "test" and "validation", in this order; empty to draw none.
    class_names : sequence of str
        In the order of their labels.
    """
    if len(classes := np.unique(labels)) < 2:
        raise ValueError(f"images must be of at least 2 classes; received only {class_names[classes[0]]}")
    if (given == "").any() and (given != "").any():
        raise ValueError(
            f"either every image or none must have a split; received {(given == '').sum():,} of {len(given):,} without"
        )
    split_of = np.where(given == "", "train", given).astype("<U10")
    for split, fraction in fractions.items():
        if fraction and not (split_of == split).any():
            rows = np.flatnonzero(split_of == "train")
            numbers = np.array([hash_text(f"{split} {keys[row]}") / 2**64 for row in rows.tolist()])
            if not (held := _hold_out(labels[rows], groups[rows], numbers, fraction)).any():
                raise ValueError(
                    f"{split}_fraction: {fraction} divides {len(rows):,} images of {len(np.unique(labels[rows])):,} "
                    f"classes in {len(np.unique(groups[rows])):,} groups; a class must have two images that need not "
                    "stay together; add images, or give the splits in a manifest"
                )
            split_of[rows[held]] = split
    if fractions and not (split_of == "test").any():
        raise ValueError("normalize.test_fraction must be above 0 where the data set gives no test split; received 0")
    untrained = np.setdiff1d(classes, labels[split_of == "train"])
    if untrained.size:
        rows = np.flatnonzero(labels == untrained[0])
        raise ValueError(
            f"every class must have images in training; received none of {len(untrained)}, such as "
            f"{class_names[untrained[0]]}: {len(rows):,} images that belong together in "
            f"{len(np.unique(groups[rows])):,} groups; add images, or give the splits in a manifest"
        )
    return split_of


def assign_folds(
    labels: NDArray[np.int32], groups: NDArray[np.int64], n_folds: int, validation_fraction: float, seed: int
) -> NDArray[np.uint8]:
    """Assign groups of rows to folds, each of which holds out others.

    A class must be in `n_folds` groups to be held out; the images of others, and what belongs with them, are trained on
    in every fold.

    Parameters
    ----------
    labels, groups : ndarray of shape (n,)
        Rows of one number in `groups` stay together.
    n_folds : int
    validation_fraction : float
        The share of a fold's training rows that it validates on.
    seed : int

    Returns
    -------
    ndarray of shape (n, n_folds), dtype=uint8
        TRAINED, VALIDATED or HELD_OUT.
    """
    rows = np.arange(len(labels))
    while (rare := _rare_classes(labels[rows], groups[rows], n_folds)).size:
        rows = rows[~np.isin(groups[rows], groups[rows[np.isin(labels[rows], rare)]])]
    if len(np.unique(labels[rows])) < 2:
        raise ValueError(
            f"normalize.folds: {n_folds} needs two classes with {n_folds} images that need not stay together; received "
            f"{len(labels):,} images in {len(np.unique(groups)):,} groups; lower it, or set it to 0"
        )
    plan = np.full((len(labels), n_folds), TRAINED, np.uint8)
    divide = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(divide.split(rows, labels[rows], groups[rows])):
        plan[rows[held_out], fold] = HELD_OUT
        if validation_fraction:
            others = np.flatnonzero(plan[:, fold] == TRAINED)
            numbers = np.array([hash_text(f"fold {fold} {seed} {group}") / 2**64 for group in groups[others].tolist()])
            validated = _hold_out(labels[others], groups[others], numbers, validation_fraction)
            plan[others[validated], fold] = VALIDATED
    return plan


def _rare_classes(labels: NDArray[np.int32], groups: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """Find the classes in fewer groups than folds."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    classes, n_groups = np.unique(pairs[0], return_counts=True)
    rare: NDArray[np.int64] = classes[n_groups < n_folds]
    return rare


def _hold_out(
    labels: NDArray[np.int32], groups: NDArray[np.int64], numbers: NDArray[np.float64], fraction: float
) -> NDArray[np.bool_]:
    """Choose the rows whose group's lowest number is below a fraction."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    lowest = np.ones(len(sizes))
    np.minimum.at(lowest, group, numbers)
    drawn = (lowest + (sizes > fraction * len(labels)))[group]  # large groups come after all others
    first, last = np.full(labels.max() + 1, np.inf), np.zeros(labels.max() + 1)
    np.minimum.at(first, labels, drawn)
    np.maximum.at(last, labels, drawn)
    held: NDArray[np.bool_] = ((drawn < fraction) | np.isin(drawn, first)) & ~np.isin(drawn, last)
    return held
