"""Augmentation: random changes to training images, the same for the same seed.

A `SamplingGrid` states where each pixel is read from: flips, shifts and zooms. A `BatchTransform` then changes the
batch. Keras' layers draw from states of their own, which a resumed run would lack, and give floats, whose last bits
differ between host and device. These compute in integers, and give both the same uint8 pixels.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.params.regularize import Augment

GREY = 128
MAX_STRETCH = np.log(4 / 3)  # of the aspect ratio

Flags = NDArray[np.bool_]
Images = NDArray[np.uint8]


class SamplingGrid(NamedTuple):
    """The row and column that each pixel is read from."""

    rows: NDArray[np.int32]  # (n, height)
    columns: NDArray[np.int32]  # (n, width)


class BatchTransform(Protocol):
    """A change to a batch of uint8 images, as its arrays."""

    def apply(self, images: Images) -> Images:
        """Transform images in the host's memory, in place where that is faster."""

    def apply_on_device(self, images: Any) -> Any:
        """Transform images in the device's memory; the arrays are then tensors."""


class Cutout(NamedTuple):
    """A grey square over each image: row and column are True."""

    rows: Flags  # (n, height)
    columns: Flags  # (n, width)

    def apply(self, images: Images) -> Images:
        images[outer_mask(self.rows, self.columns)] = GREY
        return images

    def apply_on_device(self, images: Any) -> Any:
        return ops.where(outer_mask(self.rows, self.columns)[..., None], np.uint8(GREY), images)


class ColourJitter(NamedTuple):
    """A table for each image, from old pixel values to new ones."""

    values: NDArray[np.uint8]  # (n, 256)

    def apply(self, images: Images) -> Images:
        for image, values in zip(images, self.values, strict=True):
            values.take(image, out=image, mode="clip")  # other modes need a buffer
        return images

    def apply_on_device(self, images: Any) -> Any:
        n = ops.shape(images)[0]
        places = ops.arange(n, dtype="int32")[:, None, None, None] * 256 + ops.cast(images, "int32")
        return ops.take(ops.reshape(self.values, (-1,)), places, axis=0)


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
        The next epoch must mirror the others, so that two epochs show both sides of every image (Jordan 2024,
        https://arxiv.org/abs/2404.00498).
    shape : tuple of int
        Height and width of an image, in pixels.
    """
    n, (height, width) = len(flip_parity), shape
    down, right = rng.integers(-augment.translate, augment.translate + 1, (2, n))
    flipped = rng.random(n) < 0.5 if augment.flip == "random" else flip_parity & (augment.flip == "alternating")
    rows, columns = _shifted(down, height), _shifted(right, width)
    if augment.zoom < 1:
        zoomed = _zoomed(augment.zoom, rng, n, shape)
        rows, columns = (np.take_along_axis(*pair, axis=1) for pair in zip(zoomed, (rows, columns), strict=True))
    columns[flipped] = columns[flipped, ::-1]
    return SamplingGrid(rows, columns)


def _zoomed(least: float, rng: np.random.Generator, n: int, shape: tuple[int, int]) -> list[NDArray[np.int32]]:
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
    return read


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


def sample_colour_jitter(augment: Augment, rng: np.random.Generator, n: int) -> ColourJitter | None:
    """Draw brightness and contrast of each image; None where both are off.

    `augment.brightness` b adds a number, uniform in ±255 b, to all values. `augment.contrast` c stretches their
    distances to grey by a factor, uniform in 1 ± c; Keras takes each image's mean for grey. Results are rounded, and
    clipped to 0 … 255.
    """
    if not (augment.brightness or augment.contrast):
        return None
    added = 255 * rng.uniform(-augment.brightness, augment.brightness, (n, 1))
    stretched = (np.arange(256) - GREY) * rng.uniform(1 - augment.contrast, 1 + augment.contrast, (n, 1))
    return ColourJitter((stretched + GREY + added).round().clip(0, 255).astype(np.uint8))


def interval_mask(starts: NDArray[np.int64], lengths: int | NDArray[np.int64], side: int) -> Flags:
    """Mask an interval of a side for each start."""
    offsets = np.arange(side) - starts[:, None]
    inside: Flags = (offsets >= 0) & (offsets < lengths)
    return inside


def outer_mask(rows: Any, columns: Any) -> Any:
    """Combine masks of rows and columns into masks of pixels."""
    return rows[:, :, None] & columns[:, None, :]


def apply_grid(images: Images, indices: NDArray[np.integer], grid: SamplingGrid) -> Images:
    """Read images, which may be mapped into memory, by a sampling grid."""
    # Whole rows first, then the values in them: several times as fast as single pixels.
    by_row = images.reshape(*images.shape[:2], -1)
    values = (grid.columns[:, :, None] * 3 + np.arange(3)).reshape(len(indices), -1)
    batch = np.empty((len(indices), *by_row.shape[1:]), np.uint8)
    for changed, index, rows, places in zip(batch, indices, grid.rows, values, strict=True):
        # Modes other than clip copy through a buffer.
        by_row[index].take(rows, axis=0).take(places, axis=1, out=changed, mode="clip")
    return batch.reshape(len(indices), *images.shape[1:])


def apply_grid_on_device(images: Any, indices: Any, grid: SamplingGrid) -> Any:
    """Read images by a sampling grid, all of them tensors.

    Whole images come first: indices of the pixels of all images would exceed the device's 32 bits.
    """
    height, width = images.shape[1:3]
    batch = ops.take(images, indices, axis=0)
    numbers = ops.arange(ops.shape(indices)[0], dtype="int32")[:, None, None]
    pixels = (numbers * height + grid.rows[:, :, None]) * width + grid.columns[:, None, :]
    return ops.take(ops.reshape(batch, (-1, 3)), pixels, axis=0)
