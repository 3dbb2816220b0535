"""Filters that decorrelate the pixels of a patch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

SIDE = 2  # of a patch, in pixels
FLOOR = 5e-4  # added to the variances, which bounds the filters of directions that hardly vary
NO_VARIANCE = 1e-5  # as a share of the largest variance; the smallest of CIFAR-10 is 6e-5


def whitening_filters(images: Images, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Compute convolution filters that decorrelate the patches of images.

    Over patches of normalized images the outputs are uncorrelated and of unit variance; `rescale`, which does not
    center, comes only near to that. The filters are the eigenvectors of the patches' covariance, each divided by its
    deviation, and their negatives, so that a following ReLU loses nothing. After K. Jordan (2024,
    https://arxiv.org/abs/2404.00498) and D. Page, "How to Train Your ResNet" (2018).

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), dtype=uint8
    mean, std : sequence of float
        Constants of each channel, in units of 0–255.

    Returns
    -------
    ndarray of shape (SIDE, SIDE, channels, 2 * SIDE * SIDE * channels)
        A convolution's kernel, the direction of largest variance first.
    """
    scaled = (images - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    channels = scaled.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (SIDE, SIDE), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, SIDE * SIDE * channels)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = directions / np.sqrt(variances + FLOOR)
    filters[:, variances < NO_VARIANCE * variances.max()] = 0  # as in grey pictures: they would only amplify rounding
    filters = filters[:, ::-1]
    return np.concatenate([filters, -filters], axis=1).reshape(SIDE, SIDE, channels, -1).astype(np.float32)
