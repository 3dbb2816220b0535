"""Augmentation: random changes to training images, the same for the same seed.

`sample_transforms` decides what happens to each image, and `apply_transforms` then reads the pixels once. The second
works on NumPy arrays and on those of a device, so both give the same images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment

GREY = 128

Flags = NDArray[np.bool_]

# Which images of a batch are mirrored, by `augment.flip`.
FLIPS: dict[str, Callable[[np.random.Generator, Flags], Flags]] = {
    "none": lambda rng, flip_parity: np.zeros_like(flip_parity),
    "random": lambda rng, flip_parity: rng.random(len(flip_parity)) < 0.5,
    "alternating": lambda rng, flip_parity: flip_parity,
}


class Transforms(NamedTuple):
    """The changes to a batch of n square images of `side` × `side` pixels.

    Attributes
    ----------
    rows, columns : array of shape (n, side), dtype=int32
        The row and the column of the original image that each pixel is read from.
    cut_rows, cut_columns : array of shape (n, side), dtype=bool
        A pixel is greyed where its row and its column are both marked.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    cut_rows: Flags
    cut_columns: Flags


def sample_transforms(augment: Augment, rng: np.random.Generator, flip_parity: Flags, side: int) -> Transforms:
    """Draw the changes to each image of a batch.

    Parameters
    ----------
    augment : Augment
        `flip` mirrors images left to right: `random` half of them, by chance, `alternating` those of
        `flip_parity`.
        `translate` shifts by up to this many pixels in both directions and fills by reflection.
        `cutout` greys a square of this side (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).
    rng : numpy Generator
    flip_parity : ndarray of shape (n,), dtype=bool
        The images that an alternating flip mirrors in this epoch. It must be the opposite in the next epoch, so that
        two epochs show both sides of every image (Jordan 2024, https://arxiv.org/abs/2404.00498).
    side : int
        Of an image, in pixels.
    """
    n = len(flip_parity)
    down, right = rng.integers(-augment.translate, augment.translate + 1, (2, n))
    flipped = FLIPS[augment.flip](rng, flip_parity)
    rows, columns = _shifted(down, side), _shifted(right, side)
    columns[flipped] = columns[flipped, ::-1]
    top, left = rng.integers(1 - augment.cutout, side, (2, n))  # the square may reach over an edge
    return Transforms(rows, columns, _marked(top, augment.cutout, side), _marked(left, augment.cutout, side))


def _shifted(shifts: NDArray[np.int64], side: int) -> NDArray[np.int32]:
    """Shift the positions 0 … side − 1, and reflect those that leave the image; a row per shift."""
    moved = np.abs(np.arange(side, dtype=np.int32) + shifts[:, None].astype(np.int32))
    inside: NDArray[np.int32] = np.minimum(moved, 2 * (side - 1) - moved)
    return inside


def _marked(starts: NDArray[np.int64], length: int, side: int) -> Flags:
    """Mark `length` of the positions 0 … side − 1 from a start on; a row per start."""
    offsets = np.arange(side) - starts[:, None]
    marked: Flags = (offsets >= 0) & (offsets < length)
    return marked


def apply_transforms(images: Any, indices: Any, transforms: Transforms, xp: Any = np) -> Any:
    """Read the pixels of a batch, changed.

    Parameters
    ----------
    images : array of shape (n_images, side, side, 3), dtype=uint8
    indices : array of shape (n,), dtype=int
        The images of the batch.
    transforms : Transforms
    xp : module
        `numpy`, or `keras.ops` where the arrays lie on a device.

    Returns
    -------
    array of shape (n, side, side, 3), dtype=uint8
    """
    side = images.shape[1]
    pixels = (indices[:, None, None] * side + transforms.rows[:, :, None]) * side + transforms.columns[:, None, :]
    batch = xp.take(xp.reshape(images, (-1, 3)), pixels, axis=0)
    cut = transforms.cut_rows[:, :, None] & transforms.cut_columns[:, None, :]
    return xp.where(cut[..., None], np.uint8(GREY), batch)
