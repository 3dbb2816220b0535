"""Equality: does an exported file predict as the model does?"""

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.exporting.formats import BATCH_SIZE, Predict
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Labels, Predicted, Probabilities

TIMED_SECONDS = 0.25  # for each measurement, at the least


class Parity(NamedTuple):
    """How the predictions of a file differ from those of the model."""

    metrics: dict[str, Any]
    beyond: NDArray[np.intp]  # rows of images that differ by more than the tolerance


def compare(predicted: Predicted, received: Probabilities, tolerance: float, points: float | None = None) -> Parity:
    """Compare the predictions of an exported file with those of the model.

    Parameters
    ----------
    predicted : Predicted
        Labels, and the model's calibrated probabilities.
    received : ndarray of shape (n, n_classes)
        Those of the file.
    tolerance : float
        An image is beyond it where a probability differs by more, or where the label is another one, unless the
        model's two largest probabilities are as near as that.
    points : float, optional
        For a file of 8 bit integers, whose probabilities may differ: images are beyond it that the model alone has
        right, if the file's accuracy is lower by more than so many points and its interval leaves zero out, which is
        how the gate judges two commits.
    """
    y_true, expected = predicted
    metrics = _measure(y_true, expected, received)
    if points is None:
        difference = np.abs(expected - received).max(axis=1)
        second, first = np.sort(expected, axis=1)[:, -2:].T
        other_label = expected.argmax(axis=1) != received.argmax(axis=1)
        beyond = ~(difference <= tolerance) | (other_label & (first - second > tolerance))  # NaN is beyond
    else:
        has_fallen = -100 * metrics["accuracy_difference"] > points and metrics["accuracy_interval"]["high"] < 0
        beyond = has_fallen & (correct(y_true, expected) > correct(y_true, received))
    return Parity(metrics, np.flatnonzero(beyond))


def _measure(y_true: Labels, expected: Probabilities, received: Probabilities) -> dict[str, Any]:
    right = correct(y_true, received).astype(float)
    difference = right - correct(y_true, expected)
    return {
        "n": len(y_true),
        "accuracy": float(right.mean()),
        "accuracy_difference": float(difference.mean()),
        "accuracy_interval": dict(zip(("low", "high"), mean_interval(difference), strict=True)),
        "other_labels": int((expected.argmax(axis=1) != received.argmax(axis=1)).sum()),
        "largest_difference": float(np.abs(expected - received).max()),
    }


def time_batches(predict: Predict, images: NDArray[np.uint8]) -> dict[str, float]:
    """Measure milliseconds an image, one by one and in batches."""
    milliseconds = {}
    for size in (1, BATCH_SIZE):
        batch = np.ascontiguousarray(np.resize(images[:size], (size, *images.shape[1:])))
        predict(batch)  # the first call of a shape prepares it
        started, n = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < TIMED_SECONDS:
            predict(batch)
            n += size
        milliseconds[f"batch of {size}"] = round(1000 * elapsed / n, 4)
    return milliseconds
