"""Colour jitter: a random brightness and contrast of each training image."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.params.regularize import Augment
from tasks.training.augmentation import GREY, Images


class ColourJitter(NamedTuple):
    """New pixel values of n images.

    Attributes
    ----------
    values : array of shape (n, 256), dtype=uint8
        For each image, a table from old values to new ones.
    """

    values: NDArray[np.uint8]

    def apply(self, images: Images) -> Images:
        for image, values in zip(images, self.values, strict=True):
            values.take(image, out=image, mode="clip")  # other modes need a buffer
        return images

    def apply_on_device(self, images: Any) -> Any:
        n = ops.shape(images)[0]
        places = ops.arange(n, dtype="int32")[:, None, None, None] * 256 + ops.cast(images, "int32")
        return ops.take(ops.reshape(self.values, (-1,)), places, axis=0)


def sample_colour_jitter(augment: Augment, rng: np.random.Generator, n: int) -> ColourJitter | None:
    """Draw brightness and contrast of each image; None where both are off.

    `augment.brightness` b adds a number, uniform in ±255 b, to all values. `augment.contrast` c stretches their
    distances to grey by a factor, uniform in 1 ± c. Results are rounded, and clipped to 0 … 255. Keras' RandomContrast
    uses each image's mean in place of grey; grey needs no pixels to draw the table.
    """
    if not (augment.brightness or augment.contrast):
        return None
    added = 255 * rng.uniform(-augment.brightness, augment.brightness, (n, 1))
    stretched = (np.arange(256) - GREY) * rng.uniform(1 - augment.contrast, 1 + augment.contrast, (n, 1))
    return ColourJitter((stretched + GREY + added).round().clip(0, 255).astype(np.uint8))
