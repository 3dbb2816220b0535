"""EfficientNet-Lite0 as an ImageNet classifier, in Keras' own layers, and its weights from a state dict of PyTorch.

Lite is EfficientNet without squeeze-and-excitation and with ReLU6 for swish (Tan and Le, "EfficientNet: Rethinking
Model Scaling for Convolutional Neural Networks", 2019, https://arxiv.org/abs/1905.11946; layers and constants after
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). A layer has the name of its module in
the state dict, without the underscores in front of it: `blocks.3.expand_conv` for `_blocks.3._expand_conv`.
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

# For each kind of layer its arrays in the state dict, in the order of Keras, with the axes in the order of Keras.
ARRAYS: dict[type[keras.Layer], dict[str, tuple[int, ...]]] = {
    layers.Conv2D: {"weight": (2, 3, 1, 0)},
    layers.DepthwiseConv2D: {"weight": (2, 3, 0, 1)},
    layers.Dense: {"weight": (1, 0), "bias": (0,)},
    layers.BatchNormalization: {"weight": (0,), "bias": (0,), "running_mean": (0,), "running_var": (0,)},
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
    x = _normalized(layers.Conv2D(32, 3, 2, "same", use_bias=False, name="conv_stem")(x), "bn0")
    number = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, stage, f"blocks.{number}", first=repeat == 0)
            number += 1
    x = _normalized(layers.Conv2D(1280, 1, use_bias=False, name="conv_head")(x), "bn1")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    logits = layers.Dense(N_CLASSES, name="fc")(x)
    return keras.Model(inputs, logits, name="efficientnet_lite0")


def _block(x: Any, stage: Stage, name: str, first: bool) -> Any:
    """Add an inverted bottleneck: wide 1 × 1, depthwise, narrow 1 × 1; its input is added where it has the shape."""
    inputs = x
    if stage.expansion > 1:
        expand = layers.Conv2D(x.shape[-1] * stage.expansion, 1, use_bias=False, name=f"{name}.expand_conv")
        x = _normalized(expand(x), f"{name}.bn0")
    stride = stage.stride if first else 1
    depthwise = layers.DepthwiseConv2D(stage.kernel, stride, "same", use_bias=False, name=f"{name}.depthwise_conv")
    x = _normalized(depthwise(x), f"{name}.bn1")
    project = layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}.project_conv")
    x = _normalized(project(x), f"{name}.bn2", relu=False)
    return x if first else layers.Add(name=f"{name}.add")([inputs, x])


def _normalized(x: Any, name: str, relu: bool = True) -> Any:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)
    return layers.ReLU(max_value=6.0, name=f"{name}.relu")(x) if relu else x


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
            wanted = ARRAYS[type(layer)]
            arrays = [_taken(left, f"{layer.name}.{name}", axes) for name, axes in wanted.items()]
            for weight, array in zip(layer.weights, arrays, strict=True):
                if tuple(weight.shape) != array.shape:
                    raise ValueError(f"{layer.name} must have {weight.name} of {weight.shape}; received {array.shape}")
            layer.set_weights(arrays)
    if left:
        raise ValueError(f"it holds {len(left)} arrays that EfficientNet-Lite0 has no layer for, such as {min(left)}")


def _layer_name(name: str) -> str:
    return name.removeprefix("_").replace("._", ".")


def _taken(left: dict[str, NDArray[Any]], name: str, axes: tuple[int, ...]) -> NDArray[Any]:
    """Take an array out of those that are left, with its axes in the order of Keras."""
    if name not in left:
        raise ValueError(f"it lacks the array {name}")
    array = left.pop(name)
    if array.ndim != len(axes) or not np.isfinite(array).all():
        raise ValueError(f"{name} must have {len(axes)} axes and finite values; received shape {array.shape}")
    return array.transpose(axes)
