"""Training images in the device's memory.

A GPU would wait for the host to send images. `IndexBatches` feeds indices and transforms in place of pixels; the model
sees the same pixels as with `Batches`.
"""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.training.augmentation import BatchTransform, SamplingGrid, apply_grid_on_device
from tasks.training.batches import Batches


class IndexBatches(Batches):
    """Batches of `(indices, grid, transforms)` in place of pixels.

    The wrapped model holds the images in the device's memory. On a CPU that would only be a second copy.
    """

    def _inputs(self, indices: NDArray[np.int64], grid: SamplingGrid, transforms: list[BatchTransform]) -> Any:
        return indices.astype(np.int32), grid, tuple(transforms)

    def wrap(self, model: keras.Model) -> keras.Model:
        return with_device_dataset(model, self.images, self[0][0])

    @property
    def steps_per_execution(self) -> int:
        return len(self)  # so that the device waits for the host once an epoch


class DeviceDataset(keras.layers.Layer):  # type: ignore[misc]
    """All training images, on the device as a weight of a layer."""

    def __init__(self, images: NDArray[np.uint8]):
        super().__init__(dtype="uint8", trainable=False)
        # Initial zeros would occupy as much memory again until they are replaced.
        self.images = self.add_weight(
            shape=images.shape, dtype="uint8", initializer=lambda *_, **__: images, trainable=False
        )

    def call(self, indices: Any, grid: SamplingGrid, transforms: tuple[BatchTransform, ...]) -> Any:
        images = apply_grid_on_device(self.images, indices, grid)
        for transform in transforms:
            images = transform.apply_on_device(images)
        return images


class OnDeviceModel(keras.Model):  # type: ignore[misc]
    """A model whose weights, which EarlyStopping copies, omit the images."""

    def __init__(self, inputs: Any, outputs: Any, model: keras.Model):
        super().__init__(inputs, outputs)
        self.model = model

    def get_weights(self) -> Any:
        return self.model.get_weights()

    def set_weights(self, weights: list[NDArray[Any]]) -> None:
        self.model.set_weights(weights)


def with_device_dataset(model: keras.Model, images: NDArray[np.uint8], example: Any) -> OnDeviceModel:
    """Put training images in front of a model, which shares its weights.

    `example` has the inputs of a batch of `IndexBatches`, for their shapes and dtypes.
    """
    inputs = keras.tree.map_structure(lambda array: keras.Input(array.shape[1:], dtype=array.dtype.name), example)
    return OnDeviceModel(inputs, model(DeviceDataset(images)(*inputs)), model)
