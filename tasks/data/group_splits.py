"""Seeded splits that keep groups and copies together."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tasks.data.duplicates import Pair, number_clusters


class Fractions(NamedTuple):
    """The shares to hold out where the data set gives no split."""

    test: float
    validation: float


def merge_groups(names: Sequence[str], pairs: Iterable[Pair]) -> NDArray[np.int64]:
    """Number the groups of rows that share a name or a picture.

    A name is the user's group of a row; "" is none.
    """
    first: dict[str, int] = {}
    named = [(row, first.setdefault(name, row)) for row, name in enumerate(names) if name]
    return number_clusters(len(names), [*named, *((pair.row, pair.other) for pair in pairs)])


def assign_splits(
    labels: NDArray[np.int32],
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    fractions: Fractions,
    seed: int,
    class_names: Sequence[str],
) -> NDArray[np.str_]:
    """Assign splits to rows: the given ones, or whole groups.

    What is not given is drawn from the training rows with the same share of each class: first test, then validation.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    given : ndarray of shape (n,)
        "train", "validation" or "test"; "" in every row where the data set gives no split.
    groups : ndarray of shape (n,)
        Rows of one number get one split.
    fractions : Fractions
    seed : int
    class_names : sequence of str
        In the order of their labels.

    Returns
    -------
    ndarray of shape (n,)
        "train", "validation" or "test".

    Raises
    ------
    ValueError
        If there is only one class, a class has too few rows or groups to be in training, or some rows alone have a
        given split.
    """
    if len(classes := np.unique(labels)) < 2:
        raise ValueError(f"images must be of at least 2 classes; received only {class_names[classes[0]]}")
    if (given == "").any() and (given != "").any():
        raise ValueError(
            f"either every image or none must have a split; received {(given == '').sum():,} of {len(given):,} without"
        )
    split_of = np.where(given == "", "train", given).astype("<U10")
    for split, fraction in (("test", fractions.test), ("validation", fractions.validation)):
        if fraction and not (split_of == split).any():
            rows = np.flatnonzero(split_of == "train")
            split_of[rows[_hold_out(labels[rows], groups[rows], fraction, seed, f"{split}_fraction")]] = split
    if not (split_of == "test").any():
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


def _hold_out(
    labels: NDArray[np.int32], groups: NDArray[np.int64], fraction: float, seed: int, setting: str
) -> NDArray[np.bool_]:
    """Choose about a fraction of the rows, stratified and by whole groups.

    No class is chosen whole. Rows that belong to no group are divided apart from the others, as they take no search.
    """
    share = min(fraction, 1 - fraction)
    n_folds = min((math.floor(1 / share), math.ceil(1 / share)), key=lambda n: abs(1 / n - share))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    held = np.zeros(len(labels), bool)
    for rows, folds in (
        (np.flatnonzero(sizes[group] == 1), StratifiedKFold(n_folds, shuffle=True, random_state=seed)),
        (np.flatnonzero(sizes[group] > 1), StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)),
    ):
        if len(rows) and np.bincount(labels[rows]).max() >= n_folds and len(np.unique(group[rows])) >= n_folds:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a class may have fewer rows than there are folds
                # A group may be larger than a fold: the fold whose size is nearest to the wanted one is without it.
                size = len(rows) / n_folds
                _, fold = min(folds.split(rows, labels[rows], group[rows]), key=lambda fold: abs(len(fold[1]) - size))
            held[rows[fold]] = True
    if fraction > 0.5:
        held = ~held
    lost = np.setdiff1d(labels, labels[~held])  # classes without a training image get theirs back
    held &= ~np.isin(group, group[held & np.isin(labels, lost)])
    if not held.any() or held.all():
        raise ValueError(
            f"{setting}: {fraction} divides {len(labels):,} images of {len(np.unique(labels)):,} classes in "
            f"{len(sizes):,} groups; there must be at least {n_folds} groups, and as many images of a class"
        )
    return held
