"""Each augmentation changes the pixels as its name says."""

import numpy as np
import pytest

from tasks.params.regularize import Augment
from tasks.training.augmentation import (
    ColourJitter,
    apply_grid,
    sample_colour_jitter,
    sample_cutout,
    sample_grid,
)
from tests.support.parameters import PLAIN
from tests.support.training import EVERY_AUGMENT


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)


FLIP_PARITY = np.arange(200) % 4 == 0


def augment(images: np.ndarray, seed: int = 0, **how: float | str) -> np.ndarray:
    params, rng = Augment(**{**PLAIN, **how}), np.random.default_rng(seed)
    changed = apply_grid(images, np.arange(200), sample_grid(params, rng, FLIP_PARITY, (32, 32)))
    cutout = sample_cutout(params, rng, 200, (32, 32))
    return changed if cutout is None else cutout.apply(changed)


def test_off_changes_nothing_and_originals_stay_as_they_are(images: np.ndarray) -> None:
    before = images.copy()
    np.testing.assert_array_equal(augment(images), images)
    augment(images, flip="random", translate=2, cutout=8)
    np.testing.assert_array_equal(images, before)


def test_a_flip_mirrors_about_half_of_the_images(images: np.ndarray) -> None:
    changed = augment(images, flip="random")
    flipped = [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed, images, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(changed, images, strict=True)]
    assert sum(flipped) + sum(kept) == len(images)
    assert 70 < sum(flipped) < 130


def test_an_alternating_flip_mirrors_the_images_of_its_parity(images: np.ndarray) -> None:
    changed = augment(images, flip="alternating")
    np.testing.assert_array_equal(changed[FLIP_PARITY], images[FLIP_PARITY, :, ::-1])
    np.testing.assert_array_equal(changed[~FLIP_PARITY], images[~FLIP_PARITY])


def test_a_translation_is_one_of_the_shifts_of_the_reflected_image(images: np.ndarray) -> None:
    changed = augment(images, translate=2)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    shifts = set()
    for n in range(len(images)):
        fits = [
            (y, x) for y in range(5) for x in range(5) if np.array_equal(changed[n], padded[n, y : y + 32, x : x + 32])
        ]
        assert len(fits) == 1
        shifts.add(fits[0])
    assert len(shifts) == 25  # each image draws its own


def test_a_cutout_greys_one_square_also_over_an_edge(images: np.ndarray) -> None:
    changed = augment(np.zeros_like(images), cutout=8)
    assert set(np.unique(changed)) == {0, 128}
    areas = (changed[..., 0] == 128).sum(axis=(1, 2))
    assert areas.max() == 64
    assert areas.min() >= 1


def test_rows_and_columns_are_read_as_by_single_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 40, 24, 3), dtype=np.uint8)
    augment, order = Augment(**{**EVERY_AUGMENT, "flip": "random"}), np.array([4, 0, 0, 2])
    grid = sample_grid(augment, np.random.default_rng(0), np.zeros(4, bool), (40, 24))
    expected = images[order[:, None, None], grid.rows[:, :, None], grid.columns[:, None, :]]
    np.testing.assert_array_equal(apply_grid(images, order, grid), expected)


def test_a_zoom_shows_parts_of_at_least_its_share_of_the_area() -> None:
    n, shape = 3000, (40, 60)
    zoomed = Augment(**{**PLAIN, "zoom": 0.25})
    grid = sample_grid(zoomed, np.random.default_rng(0), np.zeros(n, bool), shape)
    height, width = (
        (places[:, -1] - places[:, 0] + 1) / side for places, side in zip((grid.rows, grid.columns), shape, strict=True)
    )
    areas = height * width
    assert 0.2 < areas.min() < 0.3
    assert areas.max() > 0.95
    assert grid.rows.min() == 0
    assert (grid.rows.max(), grid.columns.max()) == (39, 59)
    assert (np.diff(grid.columns, axis=1) >= 0).all()
    assert 0.6 < np.quantile(height / width, 0.05) < 0.9 < 1.1 < np.quantile(height / width, 0.95) < 1.5


@pytest.mark.parametrize("least", [0.8, 0.95])
def test_no_part_is_smaller_than_the_least_however_large_that_is(least: float) -> None:
    n, shape = 2000, (1000, 1000)
    zoomed = Augment(**{**PLAIN, "zoom": least})
    grid = sample_grid(zoomed, np.random.default_rng(0), np.zeros(n, bool), shape)
    areas = (np.ptp(grid.rows, axis=1) + 1) * (np.ptp(grid.columns, axis=1) + 1) / 1000**2
    assert areas.min() > least - 0.004  # a row and a column of pixels
    assert np.mean(areas < (1 + least) / 2) == pytest.approx(0.5, abs=0.05)


def jitter(n: int = 1000, **how: float) -> ColourJitter:
    sampled = sample_colour_jitter(Augment(**{**PLAIN, **how}), np.random.default_rng(0), n)
    assert sampled is not None
    return sampled


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
