"""Augmentation: random changes to training images, the same for the same seed.

`sample_transforms` decides which row and which column of an image each pixel is read from. The pixels are then read
once, by `apply_transforms` from the host's memory or by `apply_on_device`. A `Change` alters the batch that was read:
`Cutout` here, and those of `colour` and `mixing`.

Why not Keras' layers (RandomBrightness, RandomContrast, MixUp, CutMix): each draws from a state of its own, which
neither the epoch nor the step decides, and a resumed run would lack. They give floats, which may differ in their last
bits between host and device. Here both compute in integers, and give the same uint8 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.params.regularize import Augment

GREY = 128
MAX_STRETCH = np.log(4 / 3)  # of the aspect ratio

Flags = NDArray[np.bool_]
Images = NDArray[np.uint8]

# Which images of a batch are mirrored, by `augment.flip`.
FLIPS: dict[str, Callable[[np.random.Generator, Flags], Flags]] = {
    "none": lambda rng, flip_parity: np.zeros_like(flip_parity),
    "random": lambda rng, flip_parity: rng.random(len(flip_parity)) < 0.5,
    "alternating": lambda rng, flip_parity: flip_parity,
}


class Transforms(NamedTuple):
    """Where the pixels of a batch of n images are read from.

    Attributes
    ----------
    rows : array of shape (n, height), dtype=int32
    columns : array of shape (n, width), dtype=int32
        The row and the column of the original image that each pixel is read from.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]


class Change(Protocol):
    """A change to a batch of uint8 images that were read: its arrays, and how they apply."""

    def apply(self, images: Images) -> Images:
        """Change images in the host's memory, in place where that is faster."""

    def apply_on_device(self, images: Any) -> Any:
        """Change images in the device's memory; the arrays are tensors then."""


class Cutout(NamedTuple):
    """A grey square over each of n images.

    Attributes
    ----------
    rows : array of shape (n, height), dtype=bool
    columns : array of shape (n, width), dtype=bool
        A pixel is greyed where its row and its column are both marked.
    """

    rows: Flags
    columns: Flags

    def apply(self, images: Images) -> Images:
        images[box(self.rows, self.columns)] = GREY
        return images

    def apply_on_device(self, images: Any) -> Any:
        return ops.where(box(self.rows, self.columns)[..., None], np.uint8(GREY), images)


def sample_transforms(
    augment: Augment, rng: np.random.Generator, flip_parity: Flags, shape: tuple[int, int]
) -> Transforms:
    """Draw where the pixels of each image of a batch are read from.

    Parameters
    ----------
    augment : Augment
        `flip` mirrors images left to right: `random` half of them, by chance, `alternating` those of
        `flip_parity`.
        `translate` shifts by up to this many pixels in both directions and fills by reflection.
        `zoom` enlarges a part to the whole image: a random one of at least this share of the area.
    rng : numpy Generator
    flip_parity : ndarray of shape (n,), dtype=bool
        The images that an alternating flip mirrors in this epoch. It must be the opposite in the next epoch, so that
        two epochs show both sides of every image (Jordan 2024, https://arxiv.org/abs/2404.00498).
    shape : tuple of int
        Height and width of an image, in pixels.
    """
    n, (height, width) = len(flip_parity), shape
    down, right = rng.integers(-augment.translate, augment.translate + 1, (2, n))
    flipped = FLIPS[augment.flip](rng, flip_parity)
    rows, columns = _shifted(down, height), _shifted(right, width)
    if augment.zoom < 1:
        zoomed = _zoomed(augment.zoom, rng, n, shape)
        rows, columns = (np.take_along_axis(*pair, axis=1) for pair in zip(zoomed, (rows, columns), strict=True))
    columns[flipped] = columns[flipped, ::-1]
    return Transforms(rows, columns)


def _zoomed(
    least: float, rng: np.random.Generator, n: int, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw the part of each image that fills it, as the rows and the columns that are read.

    Its area is uniform, and the logarithm of its aspect ratio as far as the image has room (Szegedy et al. 2015,
    https://arxiv.org/abs/1409.4842). The nearest pixel is read, without interpolation.
    """
    share = rng.uniform(least, 1, n)
    most = np.minimum(MAX_STRETCH, -np.log(share))
    stretch = np.exp(rng.uniform(-most, most))
    read = []
    for side, part in zip(shape, (np.sqrt(share / stretch), np.sqrt(share * stretch)), strict=True):
        length = part * side
        start = rng.uniform(0, 1, n) * (side - length)
        places = start[:, None] + (np.arange(side) + 0.5) * (length / side)[:, None]
        read.append(np.minimum(places, side - 1).astype(np.int32))
    return read[0], read[1]


def _shifted(shifts: NDArray[np.int64], side: int) -> NDArray[np.int32]:
    """Shift the positions 0 … side − 1, and reflect those that leave the image; a row per shift."""
    moved = np.abs(np.arange(side, dtype=np.int32) + shifts[:, None].astype(np.int32))
    inside: NDArray[np.int32] = np.minimum(moved, 2 * (side - 1) - moved)
    return inside


def sample_cutout(augment: Augment, rng: np.random.Generator, n: int, shape: tuple[int, int]) -> Cutout | None:
    """Draw a square of side `augment.cutout` for each image; None where cutout is off.

    After DeVries & Taylor (2017, https://arxiv.org/abs/1708.04552): it may reach over an edge.
    """
    if not augment.cutout:
        return None
    top, left = (rng.integers(1 - augment.cutout, side, n) for side in shape)
    return Cutout(*(marked(start, augment.cutout, side) for start, side in zip((top, left), shape, strict=True)))


def marked(starts: NDArray[np.int64], lengths: int | NDArray[np.int64], side: int) -> Flags:
    """Mark the positions 0 … side − 1 from a start on; a row per start.

    `lengths` says how many: one number for all, or an array of shape (n, 1).
    """
    offsets = np.arange(side) - starts[:, None]
    inside: Flags = (offsets >= 0) & (offsets < lengths)
    return inside


def box(rows: Any, columns: Any) -> Any:
    """Mark the pixels whose row and column are both marked, in an array of shape (n, height, width)."""
    return rows[:, :, None] & columns[:, None, :]


def apply_transforms(images: Images, indices: NDArray[np.integer], transforms: Transforms) -> Images:
    """Read the pixels of a batch, transformed.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, 3), dtype=uint8
        May be mapped into memory.
    indices : ndarray of shape (n,), dtype=int
        The images of the batch.
    transforms : Transforms

    Returns
    -------
    ndarray of shape (n, height, width, 3), dtype=uint8
    """
    # Whole rows, then the values in them: several times as fast as single pixels of all images at once.
    by_row = images.reshape(*images.shape[:2], -1)
    values = (transforms.columns[:, :, None] * 3 + np.arange(3)).reshape(len(indices), -1)
    batch = np.empty((len(indices), *by_row.shape[1:]), np.uint8)
    for changed, index, rows, places in zip(batch, indices, transforms.rows, values, strict=True):
        by_row[index].take(rows, axis=0).take(places, axis=1, out=changed, mode="clip")  # without a buffer
    return batch.reshape(len(indices), *images.shape[1:])


def apply_on_device(images: Any, indices: Any, transforms: Transforms) -> Any:
    """Read the pixels of a batch, transformed, from images in the memory of the device.

    Whole images first: a number for each pixel of all images would exceed 32 bits, in which a device counts.

    Parameters
    ----------
    images : tensor of shape (n_images, height, width, 3), dtype=uint8
    indices : tensor of shape (n,), dtype=int32
    transforms : Transforms
        Of tensors.

    Returns
    -------
    tensor of shape (n, height, width, 3), dtype=uint8
    """
    height, width = images.shape[1:3]
    batch = ops.take(images, indices, axis=0)
    numbers = ops.arange(ops.shape(indices)[0], dtype="int32")[:, None, None]
    pixels = (numbers * height + transforms.rows[:, :, None]) * width + transforms.columns[:, None, :]
    return ops.take(ops.reshape(batch, (-1, 3)), pixels, axis=0)
