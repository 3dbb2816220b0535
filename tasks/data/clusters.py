"""Clusters of copies: several labels, and much of a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_IMAGES = 10  # of a class in a cluster that is named
MAX_SHARE = 0.1  # of a class in a cluster that is not named
ADVICE = {"strict": "usual or none", "usual": "none"}  # for normalize.copies; equal images are copies at any rate

Clusters = NDArray[np.int64]  # the number of each row's picture


def have_several_labels(clusters: Clusters, labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Find the rows whose picture has several labels."""
    pairs = np.unique(np.stack([clusters, labels]), axis=1)
    return np.isin(clusters, np.flatnonzero(np.bincount(pairs[0]) > 1))


def describe_largest(clusters: Clusters, labels: NDArray[np.int32], files: Sequence[str], copies: str) -> str:
    """Describe a cluster that holds much of a class; "" without one."""
    (number, label), counts = np.unique(np.stack([clusters, labels]), axis=1, return_counts=True)
    large = number[(counts >= MIN_IMAGES) & (counts > MAX_SHARE * np.bincount(labels)[label])]
    if not len(large):
        return ""
    rows = np.flatnonzero(clusters == max(large, key=np.bincount(clusters).__getitem__)).tolist()
    advice = f"; if they are not, set normalize.copies to {ADVICE[copies]}" if copies in ADVICE else ""
    return (
        f"{len(rows):,} of {len(labels):,} images were taken for copies of one picture, such as {files[rows[0]]} and "
        f"{files[rows[-1]]}{advice}"
    )
