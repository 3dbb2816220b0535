"""Inference: images in, logits or class probabilities out, one batch at a time."""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

VALUES_AT_ONCE = 2**25  # of a layer's output for a batch, 128 MiB in float32


class Images(Protocol):
    """Images of shape (n, height, width, 3), uint8, in memory or read by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]: ...


def predict(model: Any, images: NDArray[np.uint8], batch_size: int, mirror: bool = False) -> NDArray[np.float64]:
    """Compute class probabilities, with one batch of images in memory.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits.
    images : ndarray of shape (n, height, width, 3), dtype=uint8
    batch_size : int
    mirror : bool
        Average the logits of each image and of its mirror image first.

    Returns
    -------
    ndarray of shape (n, n_classes)
    """
    probabilities = np.empty((len(images), model.output_shape[-1]))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        scores = logits(model, batch, batch_size).astype(np.float64)
        if mirror:
            scores = (scores + logits(model, batch[:, :, ::-1], batch_size)) / 2
        probabilities[start : start + batch_size] = softmax(scores, axis=1)
    return probabilities


def logits(model: Any, images: Images, batch_size: int) -> NDArray[np.float32]:
    """Compute logits of shape (n, n_classes), with one batch of images in memory.

    A batch holds at most `batch_size` images, and fewer where images or layers are large. Keras' own `predict` would
    wait at its end for TensorFlow's autotuning of the input, for up to the time of the prediction itself.
    """
    largest = max((prod(layer.output.shape[1:]) for layer in model.layers), default=1)
    batch_size = max(min(batch_size, VALUES_AT_ONCE // largest), 1)
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    return np.concatenate([model.predict_on_batch(batch) for batch in batches])
