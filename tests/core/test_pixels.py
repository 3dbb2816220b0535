"""Constants of the pixels, and the whitening of patches."""

import numpy as np
import pytest

from tasks.core.pixels import channel_mean_std, whitening_filters


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)


def test_mean_and_deviation_do_not_depend_on_batches(images: np.ndarray) -> None:
    mean, std = channel_mean_std([images[:50], images[50:]], "standardize")
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)), rtol=1e-12)
    assert (mean, std) == channel_mean_std([images[100:], images[:100]], "standardize")


def test_rescaling_is_a_division_by_255(images: np.ndarray) -> None:
    assert channel_mean_std([images], "rescale") == ([0.0] * 3, [255.0] * 3)


@pytest.mark.parametrize("method", ["standardize", "rescale"])
def test_images_of_one_colour_are_refused(images: np.ndarray, method: str) -> None:
    images[..., 1] = 7
    with pytest.raises(ValueError, match="every colour channel must vary"):
        channel_mean_std([images], method)


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
    """In grey pictures channels do not differ; what rounding leaves of the difference must not be amplified."""
    grey = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8).repeat(3, axis=-1)
    filters = whitening_filters(grey, [127.0] * 3, [74.0] * 3).reshape(12, 24)
    assert (np.abs(filters).max(axis=0) > 0).tolist() == [*[True] * 4, *[False] * 8] * 2
    assert np.abs(filters).max() < 5
