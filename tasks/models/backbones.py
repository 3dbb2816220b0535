"""Backbones: the layers of a trained classifier up to its logits, for another data set.

They are rebuilt one by one, so that the new network is as flat as its source, takes images of another size where they
allow it, and is under the regularizers of its own run. Batch normalization stays as it was trained: a few images
would move its statistics far from those that the weights behind it know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, regularizers

PIXELS = (layers.Normalization, layers.Rescaling, layers.Resizing)  # these compute in float32 always
PENALTIES = {"kernel_regularizer", "depthwise_regularizer"}


def hidden_layers(
    pixels: Any, classifier: keras.Model, precision: str, penalty: Callable[[], regularizers.Regularizer | None]
) -> Any:
    """Add the layers of a classifier up to its logits, without its dropout.

    Parameters
    ----------
    pixels : keras.KerasTensor
        Raw uint8 pixels, of any size that the layers can take.
    classifier : keras.Model
        From pixels to logits, which its last layer gives.
    precision : str
        Keras dtype policy; layers that scale and resize pixels stay float32.
    penalty : callable
        Makes the penalty on a kernel, or none.

    Raises
    ------
    ValueError
        If the layers cannot take images of this size.
    """

    def rebuilt(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if not isinstance(layer, PIXELS):
            config["dtype"] = precision
        if isinstance(layer, layers.BatchNormalization):
            config["trainable"] = False  # which also means that it never takes the statistics of a batch
        for key in PENALTIES & config.keys():
            config[key] = penalty() if layer.trainable else None
        return type(layer).from_config(config)

    def add(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if isinstance(layer, layers.Dropout) else layer(*inputs, **options)

    backbone = keras.Model(classifier.input, classifier.layers[-1].input)
    try:
        return keras.models.clone_model(backbone, pixels, clone_function=rebuilt, call_function=add).output
    except ValueError as error:
        raise _no_fit(classifier, pixels.shape[1:3], str(error).splitlines()[0]) from error


def copy_weights(classifier: keras.Model, model: keras.Model) -> None:
    """Give the layers of a network the weights that they had in the classifier.

    Raises
    ------
    ValueError
        If a layer has another shape, as a dense layer behind images of another size.
    """
    for source in classifier.layers[:-1]:
        if source.weights:
            target = model.get_layer(source.name)
            shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (source, target)]
            if shapes[0] != shapes[1]:
                raise _no_fit(classifier, model.input_shape[1:3], f"{source.name} has weights of {shapes[0]}")
            target.set_weights(source.get_weights())


def _no_fit(classifier: keras.Model, size: tuple[int, ...], why: str) -> ValueError:
    height, width = classifier.input_shape[1:3]
    return ValueError(
        f"backbone in dvc.yaml must take images of {size[0]} × {size[1]} pixels; it was trained on {height} × {width}, "
        f"and {why}; set normalize.size"
    )
