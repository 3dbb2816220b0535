"""MixUp and CutMix: blended pixels, and labels to match."""

import numpy as np
import pytest

from tasks.params.regularize import Augment
from tasks.training.mixing import Mixing, sample_mixing
from tests.support.parameters import PLAIN

IMAGES = np.random.default_rng(0).integers(0, 256, (500, 8, 12, 3), dtype=np.uint8)
ONE_HOT = np.eye(10, dtype=np.float32)[np.arange(500) % 10]


def mixing(how: dict[str, float], seed: int = 0, n: int = 500) -> Mixing:
    sampled = sample_mixing(Augment(**{**PLAIN, **how}), np.random.default_rng(seed), n, (8, 12))
    assert sampled is not None
    return sampled


def test_mixup_blends_whole_images_within_half_a_grey_level() -> None:
    sampled = mixing({"mixup": 1.0})
    share = sampled.shares[:, None, None, None] / 256
    exact = (1 - share) * IMAGES + share * IMAGES[sampled.partners]
    np.testing.assert_allclose(sampled.apply(IMAGES), exact, atol=0.5)
    assert sorted(sampled.partners) == list(range(500))


def test_cutmix_replaces_a_box_by_the_partners_pixels() -> None:
    sampled = mixing({"cutmix": 1.0})
    in_box = (sampled.rows[:, :, None] & sampled.columns[:, None, :])[..., None]
    np.testing.assert_array_equal(sampled.apply(IMAGES), np.where(in_box, IMAGES[sampled.partners], IMAGES))
    for flags in (sampled.rows, sampled.columns):
        assert (np.abs(np.diff(flags.astype(int), axis=1)).sum(axis=1) <= 2).all()  # in one piece
    areas = in_box.mean(axis=(1, 2, 3))
    assert areas.min() == 0
    assert areas.max() > 0.7


@pytest.mark.parametrize("how", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_labels_and_weights_mix_as_the_pixels_did(how: dict[str, float]) -> None:
    sampled, weights = mixing(how), np.arange(500, dtype=np.float32) % 256
    for values in (255 * ONE_HOT[:, 3], weights):
        plain = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], IMAGES.shape)
        shown = sampled.apply(plain).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(sampled.blend(values), shown, atol=0.51)  # half a grey level
    labels = sampled.blend(ONE_HOT)
    np.testing.assert_allclose(labels[:, 3], sampled.blend(ONE_HOT[:, 3]), atol=1e-6)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


def test_alpha_decides_how_even_mixtures_are() -> None:
    near_none, even = (np.abs(mixing({"mixup": alpha}).shares / 256 - 0.5) for alpha in (0.1, 20.0))
    assert np.median(near_none) > 0.45
    assert np.median(even) < 0.1


def test_with_both_on_each_batch_takes_one_by_chance() -> None:
    wholes = [bool(mixing({"mixup": 1.0, "cutmix": 1.0}, seed, n=20).rows.all()) for seed in range(200)]
    assert 70 < sum(wholes) < 130


def test_an_image_alone_in_its_batch_stays_as_it_is() -> None:
    sampled = mixing({"mixup": 1.0, "cutmix": 1.0}, n=1)
    np.testing.assert_array_equal(sampled.apply(IMAGES[:1]), IMAGES[:1])
    np.testing.assert_array_equal(sampled.blend(ONE_HOT[:1]), ONE_HOT[:1])
