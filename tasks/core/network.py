"""The networks, and where each regularizer attaches to them.

A network takes raw uint8 pixels and gives logits: the constants that scale the pixels are its
first layer. The one that trains may run batch normalization on a fused kernel and compute in
bfloat16; built once more from Keras' own layers in float32, it takes the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, regularizers

from tasks.core.fused import FusedBatchNormalization
from tasks.core.pixels import Images, whitening_filters
from tasks.params.model import Model
from tasks.params.regularize import Regularize

SHAPE = (32, 32, 3)


def build(
    model: Model,
    regularize: Regularize,
    mean: Sequence[float],
    std: Sequence[float],
    n_classes: int,
    precision: str = "float32",
    batch_normalization: type[layers.BatchNormalization] = FusedBatchNormalization,
) -> keras.Model:
    """Build a network with fresh weights.

    Parameters
    ----------
    mean, std : sequence of 3 floats
        Constants of the first layer, in units of 0–255.
    precision : str
        Keras dtype policy of the hidden layers; the first layer and the logits stay float32.
    batch_normalization : type
        The layer class; its weights must be those of Keras' own.

    Returns
    -------
    keras.Model
        (n, 32, 32, 3) uint8 → (n, n_classes) float32 logits.
    """
    inputs = keras.Input(SHAPE, dtype="uint8", name="pixels")
    x = layers.Normalization(mean=list(mean), variance=[s * s for s in std], dtype="float32", name="constants")(inputs)
    x = NETWORKS[model.network](x, model, regularize, precision, batch_normalization)
    logits = layers.Dense(n_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=model.network)


def reference(
    x: Any, model: Model, regularize: Regularize, precision: str, batch_normalization: type[layers.BatchNormalization]
) -> Any:
    """The notebook's network: convolutions of 3 × 3, each normalized and all but the last pooled, then one dense layer.

    With `pool_before_norm` the pooling moves in front of the normalization, which then works on
    a quarter of the values.
    """
    for number, filters in enumerate(model.filters, start=1):
        pool = number < len(model.filters)
        x = layers.Conv2D(
            filters, 3, padding="same", kernel_regularizer=penalty(regularize), dtype=precision, name=f"conv{number}"
        )(x)
        if pool and model.pool_before_norm:
            x = layers.MaxPooling2D(dtype=precision, name=f"pool{number}")(x)
        if regularize.batch_norm:
            x = batch_normalization(dtype=precision, name=f"norm{number}")(x)
        x = layers.ReLU(dtype=precision, name=f"relu{number}")(x)
        if pool and not model.pool_before_norm:
            x = layers.MaxPooling2D(dtype=precision, name=f"pool{number}")(x)
    x = layers.Flatten(dtype=precision, name="flat")(x)
    x = layers.Dense(
        model.dense_units, activation="relu", kernel_regularizer=penalty(regularize), dtype=precision, name="dense"
    )(x)
    if regularize.dropout:
        x = layers.Dropout(regularize.dropout, dtype=precision, name="dropout")(x)
    return x


def speed(
    x: Any, model: Model, regularize: Regularize, precision: str, batch_normalization: type[layers.BatchNormalization]
) -> Any:
    """A network after the speed records: a frozen whitening layer, then blocks of two convolutions, pooled in between.

    After K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024,
    https://arxiv.org/abs/2404.00498). Its GELU is a ReLU here, which takes half of the time on a CPU.
    `initialize` gives it its first weights.
    """
    x = layers.Conv2D(WHITENED, 2, use_bias=False, trainable=False, dtype=precision, name="whiten")(x)
    x = layers.ReLU(dtype=precision, name="relu")(x)
    for block, filters in enumerate(model.filters, start=1):
        for half in "ab":
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=not regularize.batch_norm,
                kernel_regularizer=penalty(regularize),
                dtype=precision,
                name=f"conv{block}{half}",
            )(x)
            if half == "a":
                x = layers.MaxPooling2D(dtype=precision, name=f"pool{block}")(x)
            if regularize.batch_norm:
                # A shorter memory than Keras' own: in a run of a few hundred updates the statistics move fast.
                x = batch_normalization(momentum=0.9, scale=False, dtype=precision, name=f"norm{block}{half}")(x)
            x = layers.ReLU(dtype=precision, name=f"relu{block}{half}")(x)
    x = layers.GlobalMaxPooling2D(dtype=precision, name="peaks")(x)
    if regularize.dropout:
        x = layers.Dropout(regularize.dropout, dtype=precision, name="dropout")(x)
    return layers.Rescaling(1 / 9, dtype="float32", name="temper")(x)


NETWORKS = {"reference": reference, "speed": speed}
WHITENED = 24  # filters: twice the 2 × 2 × 3 values of a patch


def penalty(regularize: Regularize) -> regularizers.Regularizer | None:
    """The penalty on a kernel; one object for each, as Keras writes a shared one's address into the saved model."""
    return regularizers.L2(regularize.l2) if regularize.l2 else None


def initialize(network: keras.Model, images: Images, mean: Sequence[float], std: Sequence[float]) -> None:
    """Give `speed` its first weights; nothing happens to another network.

    The frozen layer is fitted to training images. Each convolution behind it starts by passing its inputs on: its
    first filters are identities, as many as it has inputs, and the rest stay random (Jordan 2024).
    """
    for layer in network.layers if network.name == "speed" else ():
        if layer.name == "whiten":
            layer.set_weights([whitening_filters(images, mean, std)])
        elif isinstance(layer, layers.Conv2D):
            kernel, *bias = layer.get_weights()
            n = min(kernel.shape[2:])
            kernel[..., :n] = 0.0
            kernel[1, 1, range(n), range(n)] = 1.0
            layer.set_weights([kernel, *bias])
