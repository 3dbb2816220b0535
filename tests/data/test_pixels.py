"""Constants of the pixels, and the whitening of patches."""

import numpy as np
import pytest

from tasks.data.pixels import channel_mean_std


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
