"""Flips: test images that only one of two sides gets right."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.results.verdict import Pair

Rows = NDArray[np.intp]


class ClassFlips(NamedTuple):
    """The flips among the images of a class."""

    name: str
    lost: int  # right at the base, wrong here
    won: int  # the reverse
    images: int  # of the class


class Flips(NamedTuple):
    """The images that flipped, those with the surest answer here first."""

    lost: Rows  # right at the base, wrong here
    won: Rows  # the reverse
    classes: list[ClassFlips]  # that have flips, those with most first


def count_flips(pair: Pair) -> Flips:
    """Count and order the images whose answer was lost or won."""
    y_true, class_names = pair.here.y_true, pair.here.class_names
    base, here = (predictions.y_prob["test"] for predictions in (pair.base, pair.here))
    was_right, is_right = (y_prob.argmax(axis=1) == y_true for y_prob in (base, here))
    surest = np.argsort(-here.max(axis=1), kind="stable")
    lost, won = (surest[flipped[surest]] for flipped in (was_right & ~is_right, is_right & ~was_right))
    labels = (y_true[lost], y_true[won], y_true)
    counts = (np.bincount(of_flips, minlength=len(class_names)).tolist() for of_flips in labels)
    classes = [ClassFlips(*row) for row in zip(class_names, *counts, strict=True) if row[1] or row[2]]
    return Flips(lost, won, sorted(classes, key=lambda row: -(row.lost + row.won)))
