"""Whitening filters decorrelate the patches of images."""

import numpy as np
import pytest

from tasks.data.pixels import channel_mean_std
from tasks.models.whitening import whitening_filters


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)


def test_whitened_patches_are_uncorrelated_with_unit_variance(images: np.ndarray) -> None:
    smooth = (images[:, 1:, 1:] // 2 + images[:, :-1, 1:] // 4 + images[:, 1:, :-1] // 4).astype(np.uint8)
    mean, std = channel_mean_std([smooth], "standardize")
    filters = whitening_filters(smooth, mean, std)
    assert filters.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(filters[..., :12], -filters[..., 12:])
    scaled = (smooth - np.array(mean)) / np.array(std)
    corners = [scaled[:, y : y + 30, x : x + 30] for y in (0, 1) for x in (0, 1)]
    outputs = np.stack(corners, axis=3).reshape(-1, 12) @ filters.reshape(12, 24)[:, :12]
    np.testing.assert_allclose(outputs.T @ outputs / len(outputs), np.eye(12), atol=0.01)


def test_directions_without_variance_have_no_filters() -> None:
    """In grey pictures the difference of channels is rounding alone."""
    grey = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8).repeat(3, axis=-1)
    filters = whitening_filters(grey, [127.0] * 3, [74.0] * 3).reshape(12, 24)
    assert (np.abs(filters).max(axis=0) > 0).tolist() == [*[True] * 4, *[False] * 8] * 2
    assert np.abs(filters).max() < 5
