"""Convolutions of small images on a CPU, with the weights and the numbers of Keras' own layer.

Keras' layer runs on oneDNN's kernels, which reach what the CPU can multiply wherever images are large. Deep in a
network, where they have at most 8 × 8 pixels and many channels, the gradient of the weights is faster in bfloat16 as
nine matrix products. Everywhere else, on other backends and on a GPU this is Keras' layer, unchanged.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import keras

# Where it was faster, measured on a Zen 4 with AVX512-BF16. The choice depends on shape and type alone, never on a
# measurement while training, which would not repeat to the bit.
LARGEST_SIDE = 8  # pixels
FEWEST_PAIRS = 64 * 128  # of an input channel and a filter; with fewer, moving the pixels takes what is saved


class FastConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Convolve in the form that is fastest for the images' size and type."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        is_bfloat16 = keras.backend.standardize_dtype(inputs.dtype) == "bfloat16"
        if is_bfloat16 and self._is_plain() and _is_small(inputs.shape, kernel.shape) and _is_on_cpu():
            return convolve_with_sliced_gradient(inputs, keras.ops.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)

    def _is_plain(self) -> bool:
        """Whether it is a 3 × 3 convolution of all channels that keeps the images' size, without a bias.

        oneDNN sums the gradient of a bias with that of the weights, in float32. Alone it would be summed in bfloat16.
        """
        settings = (self.kernel_size, self.strides, self.dilation_rate, self.padding, self.groups, self.data_format)
        return not self.use_bias and settings == ((3, 3), (1, 1), (1, 1), "same", 1, "channels_last")


def _is_small(images_shape: tuple[int | None, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Whether the images are small, with channels enough."""
    sides, pairs = images_shape[1:3], kernel_shape[2] * kernel_shape[3]
    return all(side is not None and side <= LARGEST_SIDE for side in sides) and pairs >= FEWEST_PAIRS


def _is_on_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")


def convolve_with_sliced_gradient(images: Any, kernel: Any) -> Any:
    """Convolve with oneDNN's kernels, but for the gradient of the weights.

    Parameters
    ----------
    images : tensor of shape (n, height, width, channels)
    kernel : tensor of shape (3, 3, channels, filters)

    Returns
    -------
    tensor of shape (n, height, width, filters)
    """
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(images: Any, kernel: Any) -> Any:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            of_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images), filter=kernel, out_backprop=upstream, strides=[1] * 4, padding="SAME"
            )
            return of_images, weights_gradient(images, upstream)

        return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients

    return convolve(images, kernel)


def weights_gradient(images: Any, upstream: Any) -> Any:
    """Compute the gradient of a 3 × 3 kernel: for each of its nine places, a product of all pixels that meet there.

    Pixels that meet the border's zeros are left out. With rows in front, a choice of rows is no copy, and with columns
    next, three choices of columns do for all nine.

    Parameters
    ----------
    images : tensor of shape (n, height, width, channels)
    upstream : tensor of shape (n, height, width, filters)
        The gradient of the outputs.

    Returns
    -------
    tensor of shape (3, 3, channels, filters)
    """
    import tensorflow as tf

    rows_first = [tf.transpose(values, [1, 2, 0, 3]) for values in (images, upstream)]
    height, width = images.shape[1:3]
    by_column = [
        [values[:, part] for values, part in zip(rows_first, overlap(shift, width), strict=True)] for shift in SHIFTS
    ]
    places = []
    for row_shift, columns in product(SHIFTS, by_column):
        inputs, gradients = (
            tf.reshape(values[part], (-1, values.shape[-1]))
            for values, part in zip(columns, overlap(row_shift, height), strict=True)
        )
        places.append(tf.matmul(inputs, gradients, transpose_a=True))
    return tf.reshape(tf.stack(places), (3, 3, images.shape[-1], upstream.shape[-1]))


SHIFTS = (-1, 0, 1)


def overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Choose which inputs meet which outputs along a side, at a place of the kernel."""
    start, end = max(shift, 0), side + min(shift, 0)
    return slice(start, end), slice(start - shift, end - shift)
