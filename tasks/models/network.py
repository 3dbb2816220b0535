"""The networks, and where each regularizer attaches to them.

A network takes raw uint8 pixels and gives logits; its first layer scales the pixels. While it trains, it may run
convolution and batch normalization in faster forms, and in bfloat16. The saved one has the same weights in Keras' own
layers, in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
from keras import layers, regularizers

from tasks import errors
from tasks.data.pixels import Images
from tasks.models import backbones
from tasks.models.fast_layers import FastActivation, FastConv2D, FusedBatchNormalization
from tasks.models.whitening import whitening_filters
from tasks.params.model import Model
from tasks.params.regularize import Regularize

WHITENING_FILTERS = 24  # twice the 2 × 2 × 3 values of a patch
WHITENING_PIXELS = 5_000 * 32 * 32  # more would take memory, and change the filters little


@dataclass(frozen=True)
class DataSpec:
    """The images and classes that a network is built for."""

    image_shape: tuple[int, ...]  # height, width and channels
    n_classes: int
    mean: Sequence[float]  # of each channel, in units of 0–255, as is the deviation
    std: Sequence[float]


class LayerTypes(NamedTuple):
    """Layer classes whose weights are those of Keras' own."""

    convolution: type[layers.Conv2D]
    batch_normalization: type[layers.BatchNormalization]
    activation: type[layers.Activation]


FAST = LayerTypes(FastConv2D, FusedBatchNormalization, FastActivation)
KERAS_OWN = LayerTypes(layers.Conv2D, layers.BatchNormalization, layers.Activation)


def build_for_training(
    model_params: Model,
    regularize: Regularize,
    data_spec: DataSpec,
    images: Images,
    precision: str,
    pretrained: keras.Model | None = None,
) -> keras.Model:
    """Build a network; its first weights may depend on the training images.

    Images that are too small for it, or have a size that a pretrained network cannot take, are refused.
    """
    model = build(model_params, regularize, data_spec, precision, pretrained=pretrained)
    if pretrained is not None:
        backbones.copy_weights(pretrained, model)
    elif model_params.network == "whitened_cnn":
        initialize_whitened_cnn(model, images, data_spec)
    return model


def build_for_saving(
    trained: keras.Model,
    model_params: Model,
    regularize: Regularize,
    data_spec: DataSpec,
    pretrained: keras.Model | None = None,
) -> keras.Model:
    """Rebuild a trained network from Keras' own layers in float32.

    It then loads without this project's code, and computes in float32 on every machine; a GPU may round to TF32.
    """
    standard = build(model_params, regularize, data_spec, layer_types=KERAS_OWN, pretrained=pretrained)
    standard.set_weights(trained.get_weights())
    return standard


def build(
    model_params: Model,
    regularize: Regularize,
    data_spec: DataSpec,
    precision: str = "float32",
    layer_types: LayerTypes = FAST,
    pretrained: keras.Model | None = None,
) -> keras.Model:
    """Build a network with random weights, from uint8 pixels to float32 logits.

    Parameters
    ----------
    precision : str
        Keras dtype policy of the hidden layers; the first layer and the logits stay float32.
    layer_types : LayerTypes
        The layer classes of a network from scratch.
    pretrained : keras.Model, optional
        A classifier that lends its layers, up to its logits.
    """
    inputs = keras.Input(data_spec.image_shape, dtype="uint8", name="pixels")
    if pretrained is None:
        mean, variance = list(data_spec.mean), [deviation * deviation for deviation in data_spec.std]
        x = layers.Normalization(mean=mean, variance=variance, dtype="float32", name="normalization")(inputs)
        x = NETWORKS[model_params.network](x, model_params, regularize, precision, layer_types)
    else:
        x = backbones.hidden_layers(inputs, pretrained, precision, partial(penalty, regularize))
        if regularize.dropout:
            x = layers.Dropout(regularize.dropout, dtype=precision, name="dropout")(x)
    logits = layers.Dense(data_spec.n_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=model_params.network)


def notebook_cnn(x: Any, model_params: Model, regularize: Regularize, precision: str, layer_types: LayerTypes) -> Any:
    """Add the notebook's hidden layers: convolutions, then one dense layer."""
    _check_size(x, len(model_params.filters) - 1)
    for number, filters in enumerate(model_params.filters, start=1):
        pool = number < len(model_params.filters)
        regularizer = penalty(regularize)
        x = layers.Conv2D(
            filters, 3, padding="same", kernel_regularizer=regularizer, dtype=precision, name=f"conv{number}"
        )(x)
        if pool and model_params.pool_before_norm:
            x = layers.MaxPooling2D(dtype=precision, name=f"pool{number}")(x)
        if regularize.batch_norm:
            x = layer_types.batch_normalization(dtype=precision, name=f"batch_norm{number}")(x)
        x = layers.ReLU(dtype=precision, name=f"relu{number}")(x)
        if pool and not model_params.pool_before_norm:
            x = layers.MaxPooling2D(dtype=precision, name=f"pool{number}")(x)
    x = layers.Flatten(dtype=precision, name="flatten")(x)
    units, regularizer = model_params.dense_units, penalty(regularize)
    x = layers.Dense(units, "relu", kernel_regularizer=regularizer, dtype=precision, name="dense")(x)
    if regularize.dropout:
        x = layers.Dropout(regularize.dropout, dtype=precision, name="dropout")(x)
    return x


def whitened_cnn(x: Any, model_params: Model, regularize: Regularize, precision: str, layer_types: LayerTypes) -> Any:
    """Add a frozen whitening layer, then blocks of two convolutions.

    After K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024, https://arxiv.org/abs/2404.00498), with
    ReLU or his GELU. `initialize_whitened_cnn` sets the first weights.
    """
    x = layers.Conv2D(WHITENING_FILTERS, 2, use_bias=False, trainable=False, dtype=precision, name="whitening")(x)
    activation = {"activation": model_params.activation, "dtype": precision}
    x = layer_types.activation(**activation, name="activation")(x)
    _check_size(x, len(model_params.filters))
    for block, filters in enumerate(model_params.filters, start=1):
        for half in "ab":
            x = layer_types.convolution(
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
                # A shorter memory than Keras' default: in a run of a few hundred updates the statistics move fast.
                x = layer_types.batch_normalization(
                    momentum=0.9, scale=False, dtype=precision, name=f"batch_norm{block}{half}"
                )(x)
            x = layer_types.activation(**activation, name=f"activation{block}{half}")(x)
    x = layers.GlobalMaxPooling2D(dtype=precision, name="global_max_pool")(x)
    if regularize.dropout:
        x = layers.Dropout(regularize.dropout, dtype=precision, name="dropout")(x)
    return layers.Rescaling(1 / 9, dtype="float32", name="logit_scale")(x)


def _check_size(x: Any, halvings: int) -> None:
    if (shortest := min(x.shape[1:3])) >> halvings < 1:
        raise errors.RefusedError(
            f"model.filters must be fewer, or normalize.size larger: {x.shape[1]} × {x.shape[2]} pixels can be halved "
            f"{shortest.bit_length() - 1} times; received {halvings} poolings"
        )


def penalty(regularize: Regularize) -> regularizers.Regularizer | None:
    """Make the penalty of one kernel: Keras saves a shared one's address."""
    return regularizers.L2(regularize.l2) if regularize.l2 else None


def initialize_whitened_cnn(model: keras.Model, images: Images, data_spec: DataSpec) -> None:
    """Fit the whitening layer to images, and make convolutions pass inputs on.

    As many filters as a convolution has inputs become identities, the rest stay random (Jordan 2024).
    """
    height, width = data_spec.image_shape[:2]
    # The first images are a fair sample: CIFAR-10's files are shuffled, packed images are sorted by digest.
    sample = images[: max(WHITENING_PIXELS // (height * width), 1)]
    model.get_layer("whitening").set_weights([whitening_filters(sample, data_spec.mean, data_spec.std)])
    for layer in model.layers:
        if layer.name.startswith("conv"):
            kernel, *bias = layer.get_weights()
            n = min(kernel.shape[2:])
            kernel[..., :n] = 0.0
            kernel[1, 1, range(n), range(n)] = 1.0
            layer.set_weights([kernel, *bias])


NETWORKS: dict[str, Callable[[Any, Model, Regularize, str, LayerTypes], Any]] = {
    "notebook_cnn": notebook_cnn,
    "whitened_cnn": whitened_cnn,
}
