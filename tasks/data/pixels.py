"""The constants that normalize pixels."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def channel_mean_std(batches: Iterable[Images], method: str) -> tuple[list[float], list[float]]:
    """Compute each channel's mean and deviation, in units of 0–255.

    They come from counts of the 256 values. So they are exact, and the order and size of the batches do not matter.

    Parameters
    ----------
    batches : iterable of ndarray of shape (n, height, width, 3), dtype=uint8
    method : {"standardize", "rescale"}
        Zero mean and unit variance; or simply the range 0–1.
    """
    counts = np.zeros((3, 256), np.int64)
    for images in batches:
        for channel in range(3):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    values = np.arange(256)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    if not (std > 0).all():  # it would divide by zero, and teach nothing
        raise ValueError(f"every colour channel must vary over the training images; received deviations {std.tolist()}")
    if method == "rescale":
        return [0.0] * 3, [255.0] * 3
    return mean.tolist(), std.tolist()
