"""Training images in the memory of the device, for a GPU that would wait for the host otherwise."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.core.augmentation import Transforms, apply_on_device

TRANSFORM_DTYPES = ("int32", "int32", "bool", "bool")


class DeviceDataset(keras.layers.Layer):  # type: ignore[misc]
    """Hold all training images as a weight, so that they lie on the device.

    Takes the indices of a batch and its transforms, and gives the changed images.
    """

    def __init__(self, images: NDArray[np.uint8]):
        super().__init__(dtype="uint8", trainable=False)
        self.images = self.add_weight(shape=images.shape, dtype="uint8", initializer="zeros", trainable=False)
        self.images.assign(images)

    def call(self, indices: Any, *transforms: Any) -> Any:
        return apply_on_device(self.images, indices, Transforms(*transforms))


class OnDeviceModel(keras.Model):  # type: ignore[misc]
    """Wrap a model so that it takes indices of images on the device.

    `get_weights` and `set_weights` leave the images out, since EarlyStopping keeps copies of the weights.
    """

    def __init__(self, inputs: Any, outputs: Any, model: keras.Model):
        super().__init__(inputs, outputs)
        self.model = model

    def get_weights(self) -> list[NDArray[Any]]:
        weights: list[NDArray[Any]] = self.model.get_weights()
        return weights

    def set_weights(self, weights: list[NDArray[Any]]) -> None:
        self.model.set_weights(weights)


def with_device_dataset(model: keras.Model, images: NDArray[np.uint8]) -> OnDeviceModel:
    """Put training images in front of a model.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits. The result shares its weights.
    images : ndarray of shape (n, height, width, 3), dtype=uint8

    Returns
    -------
    OnDeviceModel
        From `(indices, *transforms)`, which `IndexBatches` gives, to logits.
    """
    height, width = images.shape[1:3]
    indices = keras.Input((), dtype="int32")
    transforms = [
        keras.Input((side,), dtype=dtype)
        for side, dtype in zip((height, width, height, width), TRANSFORM_DTYPES, strict=True)
    ]
    return OnDeviceModel((indices, *transforms), model(DeviceDataset(images)(indices, *transforms)), model)
