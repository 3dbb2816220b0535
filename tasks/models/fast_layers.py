"""Faster forms of Keras' layers on TensorFlow; elsewhere Keras' own.

oneDNN's convolutions, which Keras' layer runs on, use a CPU fully where images are large. With at most 8 × 8 pixels and
many channels, the gradient of the weights is faster in bfloat16 as nine matrix products. Keras composes batch
normalization from means and arithmetic, in float32; the fused kernel makes one pass each way, and reads bfloat16.
TensorFlow computes GELU operation by operation; XLA compiles it to one loop, which takes a fifth of the time.
"""

import math
from functools import cache
from itertools import product
from typing import Any

import keras

# The limits were measured on a Zen 4 with AVX512-BF16. The choice depends on shape and type alone: a measurement while
# training would not repeat to the bit.
LARGEST_SIDE = 8  # pixels
FEWEST_PAIRS = 64 * 128  # input channels × filters; with fewer, moving the pixels costs what is saved
SHIFTS = (-1, 0, 1)  # of a kernel's places


class FastConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution in the fastest form for the images' size and type."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        is_bfloat16 = keras.backend.standardize_dtype(inputs.dtype) == "bfloat16"
        if is_bfloat16 and self._is_plain() and _is_small(inputs.shape, kernel.shape) and _is_on_cpu():
            return convolve_with_sliced_gradient(inputs, keras.ops.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)

    def _is_plain(self) -> bool:
        """Tell whether this is a plain 3×3 convolution, without bias.

        oneDNN sums the gradient of a bias with that of the weights, in float32; TensorFlow would sum it in bfloat16.
        """
        settings = (self.kernel_size, self.strides, self.dilation_rate, self.padding, self.groups, self.data_format)
        return not self.use_bias and settings == ((3, 3), (1, 1), (1, 1), "same", 1, "channels_last")


def _is_small(images_shape: tuple[int | None, ...], kernel_shape: tuple[int, ...]) -> bool:
    sides, pairs = images_shape[1:3], kernel_shape[2] * kernel_shape[3]
    return all(side is not None and side <= LARGEST_SIDE for side in sides) and pairs >= FEWEST_PAIRS


def _is_on_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")


def convolve_with_sliced_gradient(images: Any, kernel: Any) -> Any:
    """Convolve with oneDNN's kernels, except for the gradient of the weights."""
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(images: Any, kernel: Any) -> Any:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            images_gradient = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images), filter=kernel, out_backprop=upstream, strides=[1] * 4, padding="SAME"
            )
            return images_gradient, weights_gradient(images, upstream)

        return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients

    return convolve(images, kernel)


def weights_gradient(images: Any, upstream: Any) -> Any:
    """Compute the gradient of the weights as nine matrix products.

    Each place of the kernel multiplies all inputs and outputs that meet there; the border's zeros are left out. With
    rows as the first axis, a slice of rows needs no copy, and three slices of columns serve all nine places. `upstream`
    is the gradient of the outputs, of shape (n, height, width, filters).
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


def overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Return the inputs and outputs that meet at a kernel's shift."""
    start, end = max(shift, 0), side + min(shift, 0)
    return slice(start, end), slice(start - shift, end - shift)


class FastActivation(keras.layers.Activation):  # type: ignore[misc]
    """An activation whose GELU is compiled, on a CPU."""

    def call(self, inputs: Any) -> Any:
        if self.activation is not keras.activations.gelu or not _is_on_cpu():
            return super().call(inputs)
        return compiled_gelu()(inputs)


@cache
def compiled_gelu() -> Any:
    """Make GELU, x · Φ(x), from compiled loops in float32.

    See Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415; Φ is the normal distribution function.
    """
    import tensorflow as tf

    def below(x: Any) -> Any:
        return 0.5 * (1 + tf.math.erf(x * math.sqrt(0.5)))

    @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def forward(inputs: Any) -> Any:
        x = tf.cast(inputs, tf.float32)
        return tf.cast(x * below(x), inputs.dtype)

    @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def backward(inputs: Any, upstream: Any) -> Any:
        x = tf.cast(inputs, tf.float32)
        density = tf.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return tf.cast(tf.cast(upstream, tf.float32) * (below(x) + x * density), inputs.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def gelu(inputs: Any) -> Any:
        return forward(inputs), lambda upstream: backward(inputs, upstream)

    return gelu


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalization of 4-D tensors with the kernel `FusedBatchNormV3`."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) != 4 or not self.center:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        is_training = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(self.moving_variance),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros([0]) if is_training else tf.convert_to_tensor(self.moving_mean),
            variance=tf.zeros([0]) if is_training else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if is_training:
            # The kernel reports the unbiased variance; Keras keeps the biased one.
            n = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
            old, new = self.momentum, 1 - self.momentum
            self.moving_mean.assign(self.moving_mean * old + mean * new)
            self.moving_variance.assign(self.moving_variance * old + variance * ((n - 1) / n) * new)
        return outputs
