"""Seeded, stratified divisions of a labelled data set, as row numbers; what belongs together stays together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from tasks.data.duplicates import Pair, clusters

Rows = NDArray[np.int64]


def split(
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
        rows, validation = _stratified(rows, labels, n_kept, seed, f"validation_fraction: {validation_fraction}")
    if train_images is not None and train_images != len(rows):
        if train_images > len(rows):
            raise ValueError(
                f"train_images: must be at most {len(rows):,}, what validation leaves; received {train_images:,}"
            )
        rows, _ = _stratified(rows, labels, train_images, seed, f"train_images: {train_images:,}")
    return np.sort(rows), np.sort(validation)


def _stratified(rows: Rows, labels: NDArray[np.integer], n_kept: int, seed: int, setting: str) -> tuple[Rows, Rows]:
    """Split rows into `n_kept` of them and the rest, with the same share of each class."""
    classes, counts = np.unique(labels[rows], return_counts=True)
    if min(counts) < 2 or min(n_kept, len(rows) - n_kept) < len(classes):
        raise ValueError(
            f"{setting} parts {len(rows):,} images of {len(classes)} classes, the rarest with {min(counts):,}, into "
            f"{n_kept:,} and {len(rows) - n_kept:,}; either part must have room for one image of each class"
        )
    kept, rest = train_test_split(rows, train_size=n_kept, stratify=labels[rows], random_state=seed)
    return kept, rest


class Leak(NamedTuple):
    """A row of validation or test whose picture, or whose group, is in training too."""

    row: int
    twin: int  # in training
    kind: str  # of the twin: a kind of duplicate, or group


class Fractions(NamedTuple):
    """The shares that are held out where the data set does not say."""

    test: float
    validation: float


def merge_groups(names: Sequence[str], pairs: Iterable[Pair]) -> NDArray[np.int64]:
    """Number the groups of rows that must stay together: those of one name, and those of one picture.

    Parameters
    ----------
    names : sequence of str
        The user's group of each row; "" for none.
    pairs : iterable of Pair

    Returns
    -------
    ndarray of shape (n,), dtype=int64
    """
    first: dict[str, int] = {}
    named = [(row, first.setdefault(name, row)) for row, name in enumerate(names) if name]
    return clusters(len(names), [*named, *((pair.row, pair.other) for pair in pairs)])


def divide(
    labels: NDArray[np.int32],
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    fractions: Fractions,
    seed: int,
    class_names: Sequence[str],
) -> NDArray[np.str_]:
    """Give each row its split: the given one, or one that is drawn by class with groups kept together.

    A test split that is not given is drawn from the training rows, then validation from those that are left.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    given : ndarray of shape (n,)
        "train", "validation" or "test"; "" in every row where the data set gives no split.
    groups : ndarray of shape (n,)
        Rows of one number stay on one side of what is drawn.
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
            split_of[rows[_held_out(labels[rows], groups[rows], fraction, seed, f"{split}_fraction")]] = split
    if not (split_of == "test").any():
        raise ValueError("normalize.test_fraction must be above 0 where the data set gives no test split; received 0")
    untrained = np.setdiff1d(classes, labels[split_of == "train"])
    if untrained.size:
        of_class = labels == untrained[0]
        raise ValueError(
            f"every class must have images in training; received none of {len(untrained)}, such as "
            f"{class_names[untrained[0]]}: {of_class.sum():,} images that belong together in "
            f"{len(np.unique(groups[of_class])):,} groups; add images, or give the splits in a manifest"
        )
    return split_of


def _held_out(
    labels: NDArray[np.int32], groups: NDArray[np.int64], fraction: float, seed: int, setting: str
) -> NDArray[np.bool_]:
    """Choose about a fraction of the rows, with the same share of each class, no part of a group and all of no class.

    Rows that belong to no group are divided apart from the others, as they take no search.
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
                warnings.simplefilter("ignore")  # of classes with fewer rows than folds, some of which lack them
                # A group may be larger than a fold: the nearest fold to the wanted size is one without it.
                wanted = len(rows) / n_folds
                _, chosen = min(
                    folds.split(rows, labels[rows], group[rows]), key=lambda fold: abs(len(fold[1]) - wanted)
                )
            held[rows[chosen]] = True
    if fraction > 0.5:
        held = ~held
    lost = np.setdiff1d(labels, labels[~held])  # classes that are left with nothing to learn from get theirs back
    held &= ~np.isin(group, group[held & np.isin(labels, lost)])
    if not held.any() or held.all():
        raise ValueError(
            f"{setting}: {fraction} parts {len(labels):,} images of {len(np.unique(labels)):,} classes in "
            f"{len(sizes):,} groups; there must be at least {n_folds} groups, and as many images of a class"
        )
    return held


def keep(
    labels: NDArray[np.int32], split_of: NDArray[np.str_], train_images: int | None, seed: int
) -> NDArray[np.bool_]:
    """Choose the rows that stay when training keeps only so many, with the same share of each class.

    Raises
    ------
    ValueError
        If that is too few to hold every class, or more than there are.
    """
    kept = np.ones(len(labels), bool)
    rows = np.flatnonzero(split_of == "train")
    if train_images is not None:
        chosen, _ = split(labels[rows], 0, train_images, seed)
        kept[np.delete(rows, chosen)] = False
    return kept


def leaks(split_of: NDArray[np.str_], names: Sequence[str], pairs: Sequence[Pair]) -> list[Leak]:
    """List the rows of validation and test that have a twin in training, each once.

    Parameters
    ----------
    split_of : ndarray of shape (n,)
    names : sequence of str
        The user's group of each row; "" for none.
    pairs : sequence of Pair
    """
    partners: dict[int, list[Leak]] = {}
    for row, other, kind in pairs:
        partners.setdefault(row, []).append(Leak(row, other, kind))
        partners.setdefault(other, []).append(Leak(other, row, kind))
    found: dict[int, Leak] = {}
    by_picture = clusters(len(names), ((pair.row, pair.other) for pair in pairs))
    for numbers, otherwise in ((by_picture, "copy of a copy"), (merge_groups(names, ()), "group")):
        trained, first = np.unique(np.where(split_of == "train", numbers, -1), return_index=True)
        twin_of = dict(zip(trained.tolist(), first.tolist(), strict=True))
        for row in np.flatnonzero(np.isin(split_of, ("validation", "test"))).tolist():
            if (number := int(numbers[row])) in twin_of:
                direct = [one for one in partners.get(row, ()) if split_of[one.twin] == "train"]
                found.setdefault(row, [*direct, Leak(row, twin_of[number], otherwise)][0])
    return [found[row] for row in sorted(found)]
