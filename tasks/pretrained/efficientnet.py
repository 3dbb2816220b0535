"""EfficientNet-Lite0 in Keras' layers, with weights from a PyTorch state dict.

Lite0 classifies ImageNet. It is EfficientNet without squeeze-and-excitation, and with ReLU6 for swish (Tan and Le 2019,
https://arxiv.org/abs/1905.11946; layers and constants after
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). A layer has the name of its module in
the state dict without leading underscores: `blocks.3.expand_conv` for `_blocks.3._expand_conv`.

Each batch normalization is folded into the convolution before it. TensorFlow on a CPU then processes 1.4 times as many
images a second, as it fuses a convolution with its bias and its ReLU6.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

MEAN, STD = 127.0, 128.0  # not those of ImageNet, which EfficientNet-B uses
N_CLASSES = 1000


class Stage(NamedTuple):
    """Blocks of one shape; the first changes the size and the channels."""

    kernel: int
    stride: int
    expansion: int
    filters: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)

Arrays = dict[str, NDArray[Any]]

EPSILON = 1e-3  # of the batch normalizations
# The batch normalization after each convolution, by the last part of the convolution's name.
BATCH_NORMS = {
    "conv_stem": "bn0",
    "expand_conv": "bn0",
    "depthwise_conv": "bn1",
    "project_conv": "bn2",
    "conv_head": "bn1",
}


def build(input_size: int | None) -> keras.Model:
    """Build the classifier with random weights, from uint8 pixels to 1000 logits.

    Images are resized to a square of the side `input_size`, in pixels; with None they stay as they are.
    """
    inputs = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = layers.Normalization(mean=[MEAN] * 3, variance=[STD * STD] * 3, name="normalization")(inputs)
    if input_size:
        # After the scaling, which gives floating-point numbers: resized bytes would be rounded.
        x = layers.Resizing(input_size, input_size, interpolation="bilinear", name="resizing")(x)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu6", name="conv_stem")(x)
    number = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, stage, f"blocks.{number}", first=repeat == 0)
            number += 1
    x = layers.Conv2D(1280, 1, activation="relu6", name="conv_head")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    logits = layers.Dense(N_CLASSES, name="fc")(x)
    return keras.Model(inputs, logits, name="efficientnet_lite0")


def _block(x: Any, stage: Stage, name: str, first: bool) -> Any:
    """Add an inverted bottleneck, with a shortcut where the shape stays."""
    inputs = x
    if stage.expansion > 1:
        x = layers.Conv2D(x.shape[-1] * stage.expansion, 1, activation="relu6", name=f"{name}.expand_conv")(x)
    stride = stage.stride if first else 1
    x = layers.DepthwiseConv2D(stage.kernel, stride, "same", activation="relu6", name=f"{name}.depthwise_conv")(x)
    x = layers.Conv2D(stage.filters, 1, name=f"{name}.project_conv")(x)
    return x if first else layers.Add(name=f"{name}.add")([inputs, x])


def set_weights(model: keras.Model, state: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights of every layer from arrays by PyTorch's names.

    Raises
    ------
    ValueError
        If an array is missing, unused, of another shape, or not finite.
    """
    arrays = {
        name.removeprefix("_").replace("._", "."): array
        for name, array in state.items()
        if not name.endswith(".num_batches_tracked")
    }
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            kernel = _pop_array(arrays, f"{layer.name}.weight", (1, 0), layer.kernel)
            layer.set_weights([kernel, _pop_array(arrays, f"{layer.name}.bias", (0,), layer.bias)])
        elif layer.weights:
            layer.set_weights(_convolution(arrays, layer))
    if arrays:
        raise ValueError(
            f"it holds {len(arrays)} arrays that EfficientNet-Lite0 has no layer for, such as {min(arrays)}"
        )


def _convolution(arrays: Arrays, layer: keras.Layer) -> list[NDArray[Any]]:
    """Pop a convolution, and fold its batch normalization into it."""
    is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
    kernel = _pop_array(arrays, f"{layer.name}.weight", (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0), layer.kernel)
    block, _, part = layer.name.rpartition(".")
    norm = ".".join(filter(None, (block, BATCH_NORMS[part])))
    gamma, beta, mean, variance = (
        _pop_array(arrays, f"{norm}.{name}", (0,), layer.bias)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    return [kernel * (scale[:, None] if is_depthwise else scale), beta - mean * scale]


def _pop_array(arrays: Arrays, name: str, axes: tuple[int, ...], like: Any) -> NDArray[Any]:
    """Pop an array, transpose it to Keras' layout and check its shape."""
    if name not in arrays:
        raise ValueError(f"it lacks the array {name}")
    array = arrays.pop(name)
    if array.ndim != len(axes) or array.transpose(axes).shape != tuple(like.shape) or not np.isfinite(array).all():
        shape = tuple(like.shape[axes.index(axis)] for axis in range(len(axes)))
        raise ValueError(f"{name} must have finite values of shape {shape}; received {array.shape}")
    return array.transpose(axes)
