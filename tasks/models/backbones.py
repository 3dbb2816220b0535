"""Backbones: the layers of a classifier, reused for another data set.

Each layer is rebuilt, so that the new network is flat, takes images of another size where its layers allow it, and has
the regularizers of its own run. Batch normalization stays frozen: a few images would move its statistics far from those
that the later weights were trained with.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, regularizers

from tasks import errors

# Pixels need float32, and oneDNN has no fast gradient of a depthwise convolution with a stride in bfloat16.
IN_FLOAT32 = (layers.Normalization, layers.Rescaling, layers.Resizing, layers.DepthwiseConv2D)
PENALTIES = {"kernel_regularizer", "depthwise_regularizer"}


def hidden_layers(
    pixels: Any, classifier: keras.Model, precision: str, penalty: Callable[[], regularizers.Regularizer | None]
) -> Any:
    """Add a classifier's layers up to its logits, without dropout.

    `penalty` returns the penalty on a kernel, or None. Images of a size that the layers cannot take are refused.
    """

    def rebuilt(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if not isinstance(layer, IN_FLOAT32):
            config["dtype"] = precision
        if isinstance(layer, layers.BatchNormalization):
            config["trainable"] = False  # so it never uses the statistics of a batch
        for key in PENALTIES & config.keys():
            config[key] = penalty() if layer.trainable else None
        return type(layer).from_config(config)

    def add(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if isinstance(layer, layers.Dropout) else layer(*inputs, **options)

    backbone = keras.Model(classifier.input, classifier.layers[-1].input)
    try:
        return keras.models.clone_model(backbone, pixels, clone_function=rebuilt, call_function=add).output
    except ValueError as error:
        raise _size_error(classifier, pixels.shape[1:3], str(error).splitlines()[0]) from error


def copy_weights(classifier: keras.Model, model: keras.Model) -> None:
    """Copy a classifier's weights into the same layers of a network.

    Refuse a layer of another shape, as a dense layer has with images of another size.
    """
    for source in classifier.layers[:-1]:
        if source.weights:
            target = model.get_layer(source.name)
            shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (source, target)]
            if shapes[0] != shapes[1]:
                raise _size_error(classifier, model.input_shape[1:3], f"{source.name} has weights of {shapes[0]}")
            target.set_weights(source.get_weights())


def _size_error(classifier: keras.Model, size: tuple[int, ...], reason: str) -> errors.RefusedError:
    height, width = classifier.input_shape[1:3]
    return errors.RefusedError(
        f"backbone in dvc.yaml must take images of {size[0]} × {size[1]} pixels; it was trained on {height} × {width}, "
        f"and {reason}; set normalize.size"
    )
