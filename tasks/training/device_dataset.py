"""Training images in the memory of the device, for a GPU that would wait for the host otherwise."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.training.augmentation import Change, Transforms, apply_on_device


class DeviceDataset(keras.layers.Layer):  # type: ignore[misc]
    """Hold all training images as a weight, so that they lie on the device.

    Takes the indices of a batch, its transforms and its changes, and gives the changed images.
    """

    def __init__(self, images: NDArray[np.uint8]):
        super().__init__(dtype="uint8", trainable=False)
        # Not zeros first, which would lie beside the images until they are replaced.
        self.images = self.add_weight(
            shape=images.shape, dtype="uint8", initializer=lambda *_, **__: images, trainable=False
        )

    def call(self, indices: Any, transforms: Transforms, changes: tuple[Change, ...]) -> Any:
        images = apply_on_device(self.images, indices, transforms)
        for change in changes:
            images = change.apply_on_device(images)
        return images


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


def with_device_dataset(model: keras.Model, images: NDArray[np.uint8], example: Any) -> OnDeviceModel:
    """Put training images in front of a model.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits. The result shares its weights.
    images : ndarray of shape (n, height, width, 3), dtype=uint8
    example : tuple
        The inputs of some batch of `IndexBatches`: which changes there are, their shapes and dtypes.

    Returns
    -------
    OnDeviceModel
        From such inputs to logits.
    """
    inputs = keras.tree.map_structure(lambda array: keras.Input(array.shape[1:], dtype=array.dtype.name), example)
    return OnDeviceModel(inputs, model(DeviceDataset(images)(*inputs)), model)
