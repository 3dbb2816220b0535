"""Inference: from images to logits or class probabilities, batch by batch."""

from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

UNSURE = 0.5  # in `mirror_and_shift`: a smaller distance of the two largest probabilities is a doubt
VALUES_AT_ONCE = 2**25  # in a layer's output for a batch: 128 MiB in float32


class Images(Protocol):
    """Images, (n, height, width, 3) uint8, in memory or read by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]: ...


def predict(
    model: Any, images: NDArray[np.uint8], batch_size: int, test_time_augmentation: str = "none"
) -> NDArray[np.float64]:
    """Compute class probabilities, (n, n_classes), with one batch in memory.

    `test_time_augmentation` averages logits. `mirror`: those of an image and its mirror image. `mirror_and_shift`:
    where these leave a class in doubt, both are also shifted by a pixel up and left, and down and right, with the same
    weight (Jordan 2024, https://arxiv.org/abs/2404.00498, shifts all images, which changes only the doubtful ones).
    """
    probabilities = np.empty((len(images), model.output_shape[-1]))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        scores = logits(model, batch, batch_size).astype(np.float64)
        if test_time_augmentation != "none":
            scores = (scores + logits(model, batch[:, :, ::-1], batch_size)) / 2
        if test_time_augmentation == "mirror_and_shift" and (unsure := _unsure(scores)).any():
            scores[unsure] = (scores[unsure] + _shifted_logits(model, batch[unsure], batch_size)) / 2
        probabilities[start : start + batch_size] = softmax(scores, axis=1)
    return probabilities


def _unsure(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    second, first = np.sort(softmax(scores, axis=1), axis=1)[:, -2:].T
    unsure: NDArray[np.bool_] = first - second < UNSURE
    return unsure


def _shifted_logits(model: Any, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float64]:
    """Average the logits over both shifts, filled by reflection, and mirror images."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [padded[:, start : start + height, start : start + width] for start in (0, 2)]
    scores = [logits(model, batch, batch_size) for part in shifted for batch in (part, part[:, :, ::-1])]
    mean: NDArray[np.float64] = np.mean(scores, axis=0, dtype=np.float64)
    return mean


def logits(model: Any, images: Images, batch_size: int) -> NDArray[np.float32]:
    """Compute logits with one batch of images in memory.

    A batch holds at most `batch_size` images, and fewer where images or layers are large. Keras' own `predict`
    waits at its end for TensorFlow's autotuning of the input, for up to the time of the prediction itself.
    """
    largest = max((prod(layer.output.shape[1:]) for layer in model.layers), default=1)
    batch_size = max(min(batch_size, VALUES_AT_ONCE // largest), 1)
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    return np.concatenate([model.predict_on_batch(batch) for batch in batches])
