"""Leaks: held-out images whose picture or group is in training; close pairs."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.data.duplicates import Pair, Vectors
from tasks.data.splits import merge_groups


class Leak(NamedTuple):
    """A row of validation or test with a twin in training."""

    row: int
    twin: int  # the row in training
    kind: str  # how they are alike: a kind of duplicate, "copy of a copy", or "group"


def find_leaks(split_of: NDArray[np.str_], names: Sequence[str], pairs: Sequence[Pair]) -> list[Leak]:
    """List each held-out row that has a twin in training, once.

    A name is the user's group of a row; "" is none.
    """
    copies = defaultdict[int, list[Leak]](list)  # in training, of each row
    for row, other, kind in pairs:
        for held, twin in ((row, other), (other, row)):
            if split_of[twin] == "train":
                copies[held].append(Leak(held, twin, kind))
    leaks: dict[int, Leak] = {}
    by_picture, by_name = merge_groups([""] * len(names), pairs), merge_groups(names, ())
    for groups, kind in ((by_picture, "copy of a copy"), (by_name, "group")):
        trained, first = np.unique(np.where(split_of == "train", groups, -1), return_index=True)
        twin_of = dict(zip(trained.tolist(), first.tolist(), strict=True))
        for row in np.flatnonzero(np.isin(split_of, ("validation", "test"))).tolist():
            if (group := int(groups[row])) in twin_of:
                leaks.setdefault(row, [*copies[row], Leak(row, twin_of[group], kind)][0])
    return [leaks[row] for row in sorted(leaks)]


def find_closest(split_of: NDArray[np.str_], vectors: Vectors, leaks: Sequence[Leak], n_pairs: int) -> list[Leak]:
    """List the held-out rows that are most like training.

    Those that leak are not listed. The closest comes first, and `kind` is the cosine of its vector and its twin's.
    """
    from sklearn.neighbors import NearestNeighbors  # a tenth of a second, only for own images

    training = np.flatnonzero(split_of == "train")
    held = np.setdiff1d(np.flatnonzero(np.isin(split_of, ("validation", "test"))), [leak.row for leak in leaks])
    if not len(training) or not len(held):
        return []
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors[training])
    distances, nearest = (found[:, 0] for found in neighbours.kneighbors(vectors[held]))
    closest = [place for place in distances.argsort(kind="stable")[:n_pairs] if distances[place] < 1]
    return [Leak(int(held[n]), int(training[nearest[n]]), f"{1 - distances[n]:.3f}") for n in closest]
