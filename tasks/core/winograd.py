"""Winograd's convolution: a 3 × 3 convolution of small images, with a third of its multiplications.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (https://arxiv.org/abs/1509.09308). An image is
cut into tiles, of which each is taken at a few points of a polynomial; there a convolution is a product. A whole image
of 8 × 8 pixels is so small that tiles, their zero borders and the change to the points are one matrix. All of the layer
is then four matrix products, and so are its gradients, which TensorFlow derives.

In float32 the sums are rounded a few times as coarsely as in a direct convolution. bfloat16 is too coarse for it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

KERNEL = 3
LARGEST_TILE = 4  # outputs on a side; larger ones save more, and lose digits
POINTS = (0, 1, -1, 2, -2)  # besides infinity; small numbers lose the fewest digits

Matrix = NDArray[np.float64]


class Transform(NamedTuple):
    """The matrices of a convolution along one side of an image, of s pixels in t tiles, at p points.

    Attributes
    ----------
    inputs : ndarray of shape (p, t, s)
    kernel : ndarray of shape (p, 3)
    outputs : ndarray of shape (s, p, t)
    """

    inputs: Matrix
    kernel: Matrix
    outputs: Matrix


@cache
def transform(side: int) -> Transform:
    """Derive the matrices for images with a side of so many pixels, after Toom and Cook.

    A product of polynomials is their values at the points, multiplied, and interpolated. The transpose of that
    algorithm is the correlation that a convolution layer computes.
    """
    tiles = -(-side // LARGEST_TILE)
    tile = -(-side // tiles)
    points = tile + KERNEL - 1
    interpolated = np.linalg.inv(_values_at_points(points, points)).T
    inputs = np.zeros((points, tiles, tiles * tile + KERNEL - 1))  # with the border of zeros
    outputs = np.zeros((tiles * tile, points, tiles))
    for number in range(tiles):
        start = number * tile
        inputs[:, number, start : start + points] = interpolated
        outputs[start : start + tile, :, number] = _values_at_points(points, tile).T
    return Transform(inputs[:, :, 1 : side + 1], _values_at_points(points, KERNEL), outputs[:side])


def _values_at_points(points: int, coefficients: int) -> Matrix:
    """Make the matrix from a polynomial's coefficients to its values; at infinity that is the last coefficient."""
    finite = np.vander(POINTS[: points - 1], coefficients, increasing=True)
    return np.vstack([finite, np.eye(coefficients)[-1]])


def convolve(images: Any, kernel: Any) -> Any:
    """Convolve images with a kernel of 3 × 3, bordered by zeros so that they keep their size.

    Parameters
    ----------
    images : tensor of shape (n, height, width, channels), dtype=float32
        Height and width are known, and small: the time grows with the square of their product.
    kernel : tensor of shape (3, 3, channels, filters), dtype=float32

    Returns
    -------
    tensor of shape (n, height, width, filters), dtype=float32
    """
    import tensorflow as tf

    height, width = images.shape[1:3]
    channels, filters = kernel.shape[2:]
    rows, columns = transform(height), transform(width)
    to_points = np.einsum("pth,quw->pqtuhw", rows.inputs, columns.inputs).reshape(-1, height * width)
    kernel_to_points = np.einsum("pi,qj->pqij", rows.kernel, columns.kernel).reshape(-1, KERNEL * KERNEL)
    from_points = np.einsum("hpt,wqu->hwpqtu", rows.outputs, columns.outputs).reshape(height * width, -1)
    to_points, kernel_to_points, from_points = (
        tf.constant(matrix, images.dtype) for matrix in (to_points, kernel_to_points, from_points)
    )
    points = kernel_to_points.shape[0]

    pixels = tf.reshape(tf.transpose(images, [1, 2, 0, 3]), (height * width, -1))
    tiles = tf.reshape(to_points @ pixels, (points, -1, channels))
    kernels = tf.reshape(kernel_to_points @ tf.reshape(kernel, (KERNEL * KERNEL, -1)), (points, channels, filters))
    products = tf.reshape(tiles @ kernels, (from_points.shape[1], -1))
    outputs = tf.reshape(from_points @ products, (height, width, -1, filters))
    return tf.transpose(outputs, [2, 0, 1, 3])
