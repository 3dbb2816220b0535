"""Inference: images in, class probabilities out, one batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax


def predict(network: Any, images: NDArray[np.uint8], batch_size: int, mirror: bool = False) -> NDArray[np.float64]:
    """Class probabilities of shape (n, n_classes); only one batch of images is in memory.

    With `mirror` they are those of the mean of two logits, an image's and its mirror image's.
    """
    logits = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        views = (batch, batch[:, :, ::-1]) if mirror else (batch,)
        logits.append(np.mean([network.predict_on_batch(view) for view in views], axis=0))
    probabilities: NDArray[np.float64] = softmax(np.concatenate(logits).astype(np.float64), axis=1)
    return probabilities
