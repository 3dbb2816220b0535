"""EfficientNet-Lite0 as an ImageNet classifier, in Keras' own layers, and its weights from a state dict of PyTorch.

Lite is EfficientNet without squeeze-and-excitation and with ReLU6 for swish (Tan and Le, "EfficientNet: Rethinking
Model Scaling for Convolutional Neural Networks", 2019, https://arxiv.org/abs/1905.11946; layers and constants after
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). A layer has the name of its module in
the state dict, without the underscores in front of it: `blocks.3.expand_conv` for `_blocks.3._expand_conv`.

Each batch normalization is folded into the convolution in front of it: with its statistics as they were trained it
scales and shifts each channel, as a kernel and a bias can. TensorFlow on a CPU then takes 1.4 times as many images a
second, as it runs a convolution, its bias and its ReLU6 at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

MEAN, STD = 127.0, 128.0  # of a pixel; the mean and deviation of ImageNet, which EfficientNet-B takes, are wrong here
N_CLASSES = 1000


class Stage(NamedTuple):
    """Blocks of one shape; the first of them changes the size and the channels."""

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
# The batch normalization behind each convolution, by the last part of its name.
BATCH_NORMS = {
    "conv_stem": "bn0",
    "expand_conv": "bn0",
    "depthwise_conv": "bn1",
    "project_conv": "bn2",
    "conv_head": "bn1",
}
UNUSED = "num_batches_tracked"  # PyTorch counts the batches of each batch normalization


def build(input_size: int | None) -> keras.Model:
    """Build the classifier with random weights.

    Parameters
    ----------
    input_size : int or None
        Side of the square, in pixels, that images are resized to. None: they stay as they are.

    Returns
    -------
    keras.Model
        (n, height, width, 3) uint8 → (n, 1000) float32 logits.
    """
    inputs = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = layers.Normalization(mean=[MEAN] * 3, variance=[STD * STD] * 3, name="normalization")(inputs)
    if input_size:
        # Behind the scaling, which makes them floating-point numbers: bytes would be rounded once more.
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
    """Add an inverted bottleneck: wide 1 × 1, depthwise, narrow 1 × 1; its input is added where it has the shape."""
    inputs = x
    if stage.expansion > 1:
        x = layers.Conv2D(x.shape[-1] * stage.expansion, 1, activation="relu6", name=f"{name}.expand_conv")(x)
    stride = stage.stride if first else 1
    x = layers.DepthwiseConv2D(stage.kernel, stride, "same", activation="relu6", name=f"{name}.depthwise_conv")(x)
    x = layers.Conv2D(stage.filters, 1, name=f"{name}.project_conv")(x)
    return x if first else layers.Add(name=f"{name}.add")([inputs, x])


def set_weights(model: keras.Model, state: Mapping[str, NDArray[Any]]) -> None:
    """Fill every layer of the classifier from a state dict, and use each of its arrays once.

    Parameters
    ----------
    model : keras.Model
        As `build` makes it.
    state : mapping
        Arrays by the names of PyTorch.

    Raises
    ------
    ValueError
        If an array is missing, left over, of another shape, or not finite.
    """
    left = {_layer_name(name): array for name, array in state.items() if not name.endswith(f".{UNUSED}")}
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_dense(left, layer) if isinstance(layer, layers.Dense) else _convolution(left, layer))
    if left:
        raise ValueError(f"it holds {len(left)} arrays that EfficientNet-Lite0 has no layer for, such as {min(left)}")


def _convolution(left: Arrays, layer: keras.Layer) -> list[NDArray[Any]]:
    """Take the kernel and the bias of a convolution that the batch normalization behind it is folded into."""
    is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
    kernel = _taken(left, f"{layer.name}.weight", (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0), layer.kernel)
    block, _, part = layer.name.rpartition(".")
    norm = ".".join(filter(None, (block, BATCH_NORMS[part])))
    gamma, beta, mean, variance = (
        _taken(left, f"{norm}.{name}", (0,), layer.bias) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    return [kernel * (scale[:, None] if is_depthwise else scale), beta - mean * scale]


def _dense(left: Arrays, layer: keras.Layer) -> list[NDArray[Any]]:
    return [
        _taken(left, f"{layer.name}.weight", (1, 0), layer.kernel),
        _taken(left, f"{layer.name}.bias", (0,), layer.bias),
    ]


def _layer_name(name: str) -> str:
    return name.removeprefix("_").replace("._", ".")


def _taken(left: Arrays, name: str, axes: tuple[int, ...], like: Any) -> NDArray[Any]:
    """Take an array out of those that are left, with its axes in the order of Keras and the shape of a weight."""
    if name not in left:
        raise ValueError(f"it lacks the array {name}")
    array = left.pop(name)
    if array.ndim != len(axes) or array.transpose(axes).shape != tuple(like.shape) or not np.isfinite(array).all():
        shape = tuple(like.shape[axes.index(axis)] for axis in range(len(axes)))
        raise ValueError(f"{name} must have finite values of shape {shape}; received {array.shape}")
    return array.transpose(axes)
