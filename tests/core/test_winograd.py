"""Winograd's convolution against a direct one, for every size of image that it is used for."""

import numpy as np
import pytest
import tensorflow as tf

from tasks.core import winograd
from tasks.core.convolution import LARGEST_SIDE


@pytest.mark.parametrize("height", range(1, LARGEST_SIDE + 1))
@pytest.mark.parametrize("width", [3, 5, LARGEST_SIDE])
def test_every_size_of_image_gives_the_sums_of_a_direct_convolution(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, height, width, 4)).astype("float32")
    kernel = rng.normal(size=(3, 3, 4, 5)).astype("float32")
    direct = tf.nn.conv2d(images, kernel, 1, "SAME").numpy()
    np.testing.assert_allclose(winograd.convolve(tf.constant(images), kernel), direct, atol=1e-5 * np.abs(direct).max())


def test_eight_pixels_take_a_quarter_of_the_multiplications() -> None:
    points, tiles, _ = winograd.transform(8).inputs.shape
    assert (points * tiles) ** 2 == 144
    assert (8 * winograd.KERNEL) ** 2 == 576
