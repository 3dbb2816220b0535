"""Inference: images in, logits or class probabilities out, one batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax


def predict(network: Any, images: NDArray[np.uint8], batch_size: int, mirror: bool = False) -> NDArray[np.float64]:
    """Class probabilities of shape (n, n_classes).

    With `mirror` they are those of the mean of two logits, an image's and its mirror image's.
    """
    found = logits(network, images, batch_size).astype(np.float64)
    if mirror:
        found = (found + logits(network, images[:, :, ::-1], batch_size)) / 2
    probabilities: NDArray[np.float64] = softmax(found, axis=1)
    return probabilities


def logits(network: Any, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """What a network gives, of shape (n, n_classes); only one batch of images is in memory.

    Not by `predict`, whose end waits for TensorFlow's autotuning of its input for up to the time that it took.
    """
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    return np.concatenate([network.predict_on_batch(batch) for batch in batches])
