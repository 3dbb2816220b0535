"""Images in the device's memory, on whatever device the tests have."""

from typing import Any

import keras
import numpy as np
import pytest

from tasks.core.batches import Batches, IndexBatches
from tasks.params.regularize import Augment
from tests.support.training import AUGMENT, EVERY_AUGMENT, PLAIN, TRAIN, fit


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"cutout": 9},
        {"brightness": 0.3, "contrast": 0.3},
        {"mixup": 1.0},
        {"cutmix": 1.0},
        EVERY_AUGMENT,
    ],
    ids=lambda how: "+".join(how) or "off",
)
def test_a_device_shows_the_pixels_and_labels_of_the_host(how: dict[str, Any]) -> None:
    here, there = (feed(TRAIN, 10, 64, Augment(**{**PLAIN, **how}), seed=0) for feed in (Batches, IndexBatches))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    shown = there.wrap(keras.Model(pixels, keras.layers.Identity(dtype="uint8")(pixels)))
    for step in (0, 4):  # the last batch is smaller
        (images, one_hot), (inputs, one_hot_there) = here[step], there[step]
        np.testing.assert_array_equal(shown(inputs), images)
        np.testing.assert_array_equal(one_hot_there, one_hot)


@pytest.mark.parametrize(("augment", "patience"), [(AUGMENT, 0), (EVERY_AUGMENT, 1)])
def test_images_on_the_device_train_the_same_model(augment: dict[str, Any], patience: int) -> None:
    how: dict[str, Any] = {"augment": augment, "patience": patience}
    (here, rows), (there, rows_there) = fit(**how), fit(**how, feed=IndexBatches)
    for expected, weights in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert rows_there[-1] == pytest.approx(rows[-1], abs=1e-3)
