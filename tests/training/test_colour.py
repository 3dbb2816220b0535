"""Colour jitter: the values that pixels become, and their spread."""

import numpy as np

from tasks.params.regularize import Augment
from tasks.training.colour import ColourJitter, sample_colour_jitter
from tests.support.parameters import PLAIN


def jitter(n: int = 1000, **how: float) -> ColourJitter:
    sampled = sample_colour_jitter(Augment(**{**PLAIN, **how}), np.random.default_rng(0), n)
    assert sampled is not None
    return sampled


def test_off_draws_nothing() -> None:
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    assert sample_colour_jitter(Augment(**PLAIN), rng, 10) is None
    assert rng.random() == again.random()


def test_brightness_adds_the_same_to_all_values_of_an_image() -> None:
    values = jitter(brightness=0.2).values.astype(int)
    added = values[:, 128] - 128
    np.testing.assert_array_equal(values, (np.arange(256) + added[:, None]).clip(0, 255))
    assert (added.min(), added.max()) == (-51, 51)  # 0.2 × 255
    assert abs(added.mean()) < 3


def test_contrast_stretches_distances_to_grey() -> None:
    values = jitter(contrast=0.5).values.astype(int)
    assert set(values[:, 128]) == {128}
    stretched = (values[:, 178] - 128) / 50
    assert 0.5 <= stretched.min() < 0.55
    assert 1.45 < stretched.max() <= 1.5
    np.testing.assert_allclose(128 - values[:, 78], values[:, 178] - 128, atol=1)


def test_each_pixel_becomes_the_value_of_its_image() -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    sampled = jitter(n=5, brightness=0.3, contrast=0.3)
    expected = np.stack([values[image] for values, image in zip(sampled.values, images, strict=True)])
    np.testing.assert_array_equal(sampled.apply(images.copy()), expected)
