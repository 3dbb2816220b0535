"""Augmentation: random changes to training images, the same for the same seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment

Images = NDArray[np.uint8]


def augmented(images: Images, how: Augment, rng: np.random.Generator, turn: NDArray[np.bool_]) -> Images:
    """A randomly changed copy of a batch, each image on its own.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), dtype=uint8
    how : Augment
        `flip` mirrors images left to right: `random` half of them, `alternating` those of `turn`;
        `translate` shifts by up to so many pixels in both directions, filling by reflection;
        `cutout` greys a square of that side (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).
    rng : numpy Generator
    turn : ndarray of shape (n,), dtype=bool
        The images whose turn it is to be mirrored. When each has its turn in every second epoch, two
        epochs show both sides of all images (Jordan 2024, https://arxiv.org/abs/2404.00498).
    """
    n, height, width, _ = images.shape
    if how.translate:
        reach = how.translate
        padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        down, right = rng.integers(0, 2 * reach + 1, (2, n))
        images = windows[np.arange(n), down, right].transpose(0, 2, 3, 1)
    else:
        images = images.copy()
    if how.flip != "none":
        chosen = turn if how.flip == "alternating" else rng.random(n) < 0.5
        images[chosen] = images[chosen, :, ::-1]
    if how.cutout:
        rows = _inside(rng.integers(1 - how.cutout, height, size=(n,)), how.cutout, height)
        columns = _inside(rng.integers(1 - how.cutout, width, size=(n,)), how.cutout, width)
        images[rows[:, :, None] & columns[:, None, :]] = 128
    return images


def _inside(start: NDArray[np.int64], length: int, size: int) -> NDArray[np.bool_]:
    """For each start, which of the positions 0 … size − 1 lie in [start, start + length)."""
    offset = np.arange(size) - start[:, None]
    return (offset >= 0) & (offset < length)
