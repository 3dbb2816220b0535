"""Pixels: the constants that normalize them, and the random changes that augment them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment

Images = NDArray[np.uint8]


def channel_constants(batches: Iterable[Images], method: str) -> tuple[list[float], list[float]]:
    """The constants of `(pixel - mean) / std`, per channel, in units of 0–255.

    Counts how often each of the 256 values occurs, so the result is exact, does not depend on
    the order or size of the batches, and needs no float copy of the images.

    Parameters
    ----------
    batches : iterable of ndarray of shape (n, height, width, 3), dtype=uint8
    method : {"standardize", "rescale"}
        Zero mean and unit variance; or simply the range 0–1.

    Raises
    ------
    ValueError
        If a channel never varies, so that nothing could be divided by its deviation.
    """
    if method == "rescale":
        return [0.0] * 3, [255.0] * 3
    counts = np.zeros((3, 256), np.int64)
    for images in batches:
        for channel in range(3):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    values = np.arange(256)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    if not (std > 0).all():
        raise ValueError(f"every colour channel must vary over the training images; received deviations {std.tolist()}")
    return mean.tolist(), std.tolist()


def augmented(images: Images, how: Augment, rng: np.random.Generator) -> Images:
    """A randomly changed copy of a batch, each image on its own.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), dtype=uint8
    how : Augment
        `flip` mirrors half of the images left to right; `translate` shifts by up to so many
        pixels in both directions, filling by reflection; `cutout` greys a square of that side
        (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).
    rng : numpy Generator
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
    if how.flip:
        chosen = rng.random(n) < 0.5
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
