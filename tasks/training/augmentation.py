"""Augmentation: random changes to training images, the same for the same seed.

`sample_grid` draws the row and the column of an image that each pixel is read from: flips, shifts and zooms. The pixels
are then read once, by `apply_grid` in the host's memory or by `apply_grid_on_device`. A `BatchTransform` changes the
batch that was read: `Cutout`, or those of `colour` and `mixing`.

Keras' layers (RandomBrightness, RandomContrast, MixUp, CutMix) draw from states of their own, which a resumed run would
lack, and give floats, whose last bits differ between host and device. Here both compute in integers, and give the same
uint8 pixels.
"""

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

# The images of a batch that are mirrored, by `augment.flip`.
FLIPS: dict[str, Callable[[np.random.Generator, Flags], Flags]] = {
    "none": lambda rng, flip_parity: np.zeros_like(flip_parity),
    "random": lambda rng, flip_parity: rng.random(len(flip_parity)) < 0.5,
    "alternating": lambda rng, flip_parity: flip_parity,
}


class SamplingGrid(NamedTuple):
    """The places that the pixels of n images are read from.

    Attributes
    ----------
    rows : array of shape (n, height), dtype=int32
    columns : array of shape (n, width), dtype=int32
        The row and the column of the original image that each pixel is read from.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]


class BatchTransform(Protocol):
    """A change to a batch of uint8 images, as its arrays."""

    def apply(self, images: Images) -> Images:
        """Transform images in the host's memory, in place where that is faster."""

    def apply_on_device(self, images: Any) -> Any:
        """Transform images in the device's memory; the arrays are then tensors."""


class Cutout(NamedTuple):
    """A grey square over each of n images.

    Attributes
    ----------
    rows : array of shape (n, height), dtype=bool
    columns : array of shape (n, width), dtype=bool
        A pixel is greyed where its row and its column are both True.
    """

    rows: Flags
    columns: Flags

    def apply(self, images: Images) -> Images:
        images[outer_mask(self.rows, self.columns)] = GREY
        return images

    def apply_on_device(self, images: Any) -> Any:
        return ops.where(outer_mask(self.rows, self.columns)[..., None], np.uint8(GREY), images)


def sample_grid(augment: Augment, rng: np.random.Generator, flip_parity: Flags, shape: tuple[int, int]) -> SamplingGrid:
    """Draw the places that the pixels of a batch are read from.

    Parameters
    ----------
    augment : Augment
        `flip` mirrors images left to right: `random` half of them, `alternating` those of `flip_parity`.
        `translate` shifts by up to this many pixels in both directions, and fills by reflection.
        `zoom` enlarges a random part, of at least this share of the area, to the whole image.
    rng : numpy Generator
    flip_parity : ndarray of shape (n,), dtype=bool
        The images that an alternating flip mirrors in this epoch. The next epoch must mirror the others, so that two
        epochs show both sides of every image (Jordan 2024, https://arxiv.org/abs/2404.00498).
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
    return SamplingGrid(rows, columns)


def _zoomed(
    least: float, rng: np.random.Generator, n: int, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw the rows and columns of a part of each image.

    Its area is uniform, and so is the logarithm of its aspect ratio where the image has room (Szegedy et al. 2015,
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
    """Shift all positions of a side, and reflect them at its ends."""
    moved = np.abs(np.arange(side, dtype=np.int32) + shifts[:, None].astype(np.int32))
    inside: NDArray[np.int32] = np.minimum(moved, 2 * (side - 1) - moved)
    return inside


def sample_cutout(augment: Augment, rng: np.random.Generator, n: int, shape: tuple[int, int]) -> Cutout | None:
    """Draw a grey square for each image; None where cutout is off.

    After DeVries & Taylor (2017, https://arxiv.org/abs/1708.04552): a square may reach over an edge.
    """
    if not augment.cutout:
        return None
    top, left = (rng.integers(1 - augment.cutout, side, n) for side in shape)
    return Cutout(*(interval_mask(start, augment.cutout, side) for start, side in zip((top, left), shape, strict=True)))


def interval_mask(starts: NDArray[np.int64], lengths: int | NDArray[np.int64], side: int) -> Flags:
    """Mask an interval of the positions of a side, for each start.

    `lengths` is a number, or an array of shape (n, 1).
    """
    offsets = np.arange(side) - starts[:, None]
    inside: Flags = (offsets >= 0) & (offsets < lengths)
    return inside


def outer_mask(rows: Any, columns: Any) -> Any:
    """Combine masks of rows and columns into masks of pixels."""
    return rows[:, :, None] & columns[:, None, :]


def apply_grid(images: Images, indices: NDArray[np.integer], grid: SamplingGrid) -> Images:
    """Read the pixels of a batch by a sampling grid.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, 3), dtype=uint8
        May be mapped into memory.
    indices : ndarray of shape (n,), dtype=int
        The images of the batch.
    grid : SamplingGrid

    Returns
    -------
    ndarray of shape (n, height, width, 3), dtype=uint8
    """
    # Whole rows first, then the values in them: several times as fast as single pixels.
    by_row = images.reshape(*images.shape[:2], -1)
    values = (grid.columns[:, :, None] * 3 + np.arange(3)).reshape(len(indices), -1)
    batch = np.empty((len(indices), *by_row.shape[1:]), np.uint8)
    for changed, index, rows, places in zip(batch, indices, grid.rows, values, strict=True):
        by_row[index].take(rows, axis=0).take(
            places, axis=1, out=changed, mode="clip"
        )  # other modes copy through a buffer
    return batch.reshape(len(indices), *images.shape[1:])


def apply_grid_on_device(images: Any, indices: Any, grid: SamplingGrid) -> Any:
    """Read a batch by a sampling grid in the device's memory.

    Whole images come first: indices of the pixels of all images would exceed the device's 32 bits.

    Parameters
    ----------
    images : tensor of shape (n_images, height, width, 3), dtype=uint8
    indices : tensor of shape (n,), dtype=int32
    grid : SamplingGrid
        Of tensors.

    Returns
    -------
    tensor of shape (n, height, width, 3), dtype=uint8
    """
    height, width = images.shape[1:3]
    batch = ops.take(images, indices, axis=0)
    numbers = ops.arange(ops.shape(indices)[0], dtype="int32")[:, None, None]
    pixels = (numbers * height + grid.rows[:, :, None]) * width + grid.columns[:, None, :]
    return ops.take(ops.reshape(batch, (-1, 3)), pixels, axis=0)
