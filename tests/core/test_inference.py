"""Predictions hold one batch of images in memory, and are the softmax of the model's logits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from tasks.core.inference import VALUES_AT_ONCE, logits, predict


class Brightness:
    """A model of three classes; it notes how many images it was given at once."""

    output_shape = (None, 3)
    layers: tuple[SimpleNamespace, ...] = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        assert images.base is not None, "a copy"
        self.batches.append(len(images))
        first, last = images[:, 0, 0, 0], images[:, 0, -1, 0]
        return np.stack([first, last, 0 * first], axis=1).astype(np.float32) / 64


@pytest.mark.parametrize(("mirror", "batches"), [(False, [4, 4, 2]), (True, [4, 4, 4, 4, 2, 2])])
def test_predictions_take_views_of_the_images_batch_by_batch(mirror: bool, batches: list[int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 3), dtype=np.uint8)
    model = Brightness()
    first, last = (images[:, 0, column, 0] / np.float32(64) for column in (0, -1))
    if mirror:
        first = last = (first + last) / 2
    expected = softmax(np.stack([first, last, 0 * first], axis=1).astype(np.float64), axis=1)
    np.testing.assert_allclose(predict(model, images, 4, mirror), expected, atol=1e-7)
    assert model.batches == batches


def test_a_wide_layer_is_given_fewer_images_at_once() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)
    model, wide = Brightness(), Brightness()
    wide.layers = (SimpleNamespace(output=SimpleNamespace(shape=(None, VALUES_AT_ONCE // 3, 1))),)
    np.testing.assert_array_equal(logits(wide, images, 7), logits(model, images, 7))
    assert (wide.batches, model.batches) == ([3, 3, 1], [7])
