"""Augmentation: random changes to training images, the same for the same seed.

Chance decides first, then pixels are fetched once: `draw` says from where, and `fetch` works on NumPy's
arrays and on those of a device alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment

GREY = 128


class Draws(NamedTuple):
    """What chance decided for a batch of n square images, each of `side` × `side` pixels.

    `rows` and `columns`, of shape (n, side), int32: which row and column of the image each pixel comes from.
    `cut_rows` and `cut_columns`, of shape (n, side), bool: a pixel in one of both is greyed.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    cut_rows: NDArray[np.bool_]
    cut_columns: NDArray[np.bool_]


def draw(how: Augment, rng: np.random.Generator, turn: NDArray[np.bool_], side: int) -> Draws:
    """Decide the changes to a batch, for each image on its own.

    Parameters
    ----------
    how : Augment
        `flip` mirrors images left to right: `random` half of them, `alternating` those of `turn`;
        `translate` shifts by up to so many pixels in both directions, filling by reflection;
        `cutout` greys a square of that side (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).
    rng : numpy Generator
    turn : ndarray of shape (n,), dtype=bool
        The images whose turn it is to be mirrored. When each has its turn in every second epoch, two
        epochs show both sides of all images (Jordan 2024, https://arxiv.org/abs/2404.00498).
    side : int
        Of an image, pixels.
    """
    n = len(turn)
    down, right = rng.integers(-how.translate, how.translate + 1, (2, n)) if how.translate else np.zeros((2, n), int)
    mirrored = {"none": np.zeros(n, bool), "alternating": turn}.get(how.flip)
    if mirrored is None:
        mirrored = rng.random(n) < 0.5
    columns = _reflected(right, side)
    columns[mirrored] = columns[mirrored, ::-1]
    cut = rng.integers(1 - how.cutout, side, (2, n)) if how.cutout else np.zeros((2, n), int)
    offset = np.arange(side) - cut[:, :, None]
    cut_rows, cut_columns = (offset >= 0) & (offset < how.cutout)
    return Draws(_reflected(down, side), columns, cut_rows, cut_columns)


def _reflected(shift: NDArray[np.int64], side: int) -> NDArray[np.int32]:
    """For each shift, the positions 0 … side − 1 moved by it, and mirrored back where they leave the image."""
    moved = np.abs(np.arange(side, dtype=np.int32) + shift[:, None].astype(np.int32))
    inside: NDArray[np.int32] = np.minimum(moved, 2 * (side - 1) - moved)
    return inside


def fetch(images: Any, batch: Any, draws: Draws, arrays: Any = np) -> Any:
    """The images of a batch, changed.

    Parameters
    ----------
    images : array of shape (n_images, side, side, 3), dtype=uint8
    batch : array of shape (n,), dtype=int
        Which of them.
    draws : Draws
    arrays : module
        `numpy`, or `keras.ops` for arrays of a device.

    Returns
    -------
    array of shape (n, side, side, 3), dtype=uint8
    """
    side = images.shape[1]
    pixels = (batch[:, None, None] * side + draws.rows[:, :, None]) * side + draws.columns[:, None, :]
    fetched = arrays.take(arrays.reshape(images, (-1, 3)), pixels, axis=0)
    cut = draws.cut_rows[:, :, None] & draws.cut_columns[:, None, :]
    return arrays.where(cut[..., None], np.uint8(GREY), fetched)
