"""The filters of a first layer that decorrelates pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

NO_VARIANCE = 1e-5  # of a direction, as a share of the largest; the smallest of CIFAR-10 has 6e-5


def whitening_filters(
    images: Images, mean: Sequence[float], std: Sequence[float], side: int = 2, floor: float = 5e-4
) -> NDArray[np.float32]:
    """Compute convolution filters that decorrelate the patches of images.

    Over the patches of normalized images their outputs are uncorrelated and of unit variance; constants of `rescale`,
    which center nothing, bring them near to that alone. They are the eigenvectors of the patches' covariance, each
    divided by its deviation, and their negatives, so that a ReLU behind them loses nothing. After K. Jordan (2024,
    https://arxiv.org/abs/2404.00498) and D. Page, "How to Train Your ResNet" (2018).

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), dtype=uint8
    mean, std : sequence of float
        Constants of each channel, in units of 0–255.
    side : int
        Of a patch, in pixels.
    floor : float
        Added to the variances, so that a direction without any does not grow without bound.

    Returns
    -------
    ndarray of shape (side, side, channels, 2 * side * side * channels)
        A convolution's kernel, the direction of most variance first.
    """
    scaled = (images - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    channels = scaled.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (side, side), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, side * side * channels)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = directions / np.sqrt(variances + floor)
    filters[:, variances < NO_VARIANCE * variances.max()] = 0  # as in grey pictures: it would amplify rounding alone
    filters = filters[:, ::-1]
    return np.concatenate([filters, -filters], axis=1).reshape(side, side, channels, -1).astype(np.float32)
