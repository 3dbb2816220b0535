"""Predictions: softmax of averaged logits, one batch in memory."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from tasks.models.inference import VALUES_AT_ONCE, logits, predict


class Brightness:
    """A model of three classes that notes its batch sizes."""

    output_shape = (None, 3)
    layers: tuple[SimpleNamespace, ...] = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        assert images.base is not None, "a copy"
        self.batches.append(len(images))
        first, last = images[:, 0, 0, 0], images[:, 0, -1, 0]
        return np.stack([first, last, 0 * first], axis=1).astype(np.float32) / 64


@pytest.mark.parametrize(("test_time_augmentation", "batches"), [("none", [4, 4, 2]), ("mirror", [4, 4, 4, 4, 2, 2])])
def test_predictions_average_mirror_images_batch_by_batch(test_time_augmentation: str, batches: list[int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 3), dtype=np.uint8)
    model = Brightness()
    first, last = (images[:, 0, column, 0] / np.float32(64) for column in (0, -1))
    if test_time_augmentation == "mirror":
        first = last = (first + last) / 2
    expected = softmax(np.stack([first, last, 0 * first], axis=1).astype(np.float64), axis=1)
    np.testing.assert_allclose(predict(model, images, 4, test_time_augmentation), expected, atol=1e-7)
    assert model.batches == batches


class Corner:
    """A model whose first class has a bright upper left corner."""

    output_shape = (None, 2)
    layers = ()

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        corner = images[:, 0, 0, 0].astype(np.float32) / 16
        return np.stack([corner, 0 * corner], axis=1)


def test_shifts_count_where_mirror_images_leave_a_doubt() -> None:
    images = np.zeros((3, 4, 6, 3), np.uint8)
    images[1, 0, [0, -1]] = 255  # the corners: sure
    images[:, 1, [1, -2]] = [[80], [48]]  # what a shift by a pixel, or its reflection, brings there
    once, shifted = (predict(Corner(), images, 2, how) for how in ("mirror", "mirror_and_shift"))
    np.testing.assert_allclose(shifted[1], once[1])
    np.testing.assert_allclose(once[[0, 2], 0], 0.5)
    np.testing.assert_allclose(shifted[[0, 2]], [softmax([4 / 2, 0])] * 2)


def test_a_wide_layer_is_given_fewer_images_at_once() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)
    model, wide = Brightness(), Brightness()
    wide.layers = (SimpleNamespace(output=SimpleNamespace(shape=(None, VALUES_AT_ONCE // 3, 1))),)
    np.testing.assert_array_equal(logits(wide, images, 7), logits(model, images, 7))
    assert (wide.batches, model.batches) == ([3, 3, 1], [7])
