"""Images in the device's memory, on whatever device the tests have."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from tasks.params.regularize import Augment
from tasks.training.batches import Batches, IndexBatches
from tests.support.jax import needs_jax, on_jax
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


@pytest.mark.slow
@needs_jax
def test_a_training_on_jax_reads_the_pictures_of_the_host() -> None:
    """Images in the middle and at the end too, after epochs that hand the memory of all images on from step to step."""
    found = json.loads(on_jax("-m", "bench.sides", "large", "images=300", "pixels=40").splitlines()[-1])
    assert found["pictures_equal_the_hosts"] == {"first": True, "middle": True, "last": True}


@pytest.mark.slow
@needs_jax
def test_images_beyond_32_bits_are_read_whole_on_jax() -> None:
    """Only the last images are not black: a number for each value of all images would have wrapped before them."""
    code = (
        "import numpy as np\n"
        "from tasks.device.backend import keras\n"
        "from tasks.training.augmentation import Transforms, apply_transforms\n"
        "from tasks.training.device_dataset import with_device_dataset\n"
        "side, last = 1024, np.arange(700 - 8, 700, dtype=np.int32)\n"
        "images = np.zeros((700, side, side, 3), np.uint8)\n"
        "assert images.size > 2**31\n"
        "images[last] = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)\n"
        "rows = np.tile(np.arange(side, dtype=np.int32), (8, 1))\n"
        "cut = np.zeros((8, side), bool)\n"
        "transforms = Transforms(rows, rows[:, ::-1], cut, cut)\n"
        "pixels = keras.Input((side, side, 3), dtype='uint8')\n"
        "model = with_device_dataset(keras.Model(pixels, keras.layers.Identity(dtype='uint8')(pixels)), images)\n"
        "model.compile(jit_compile=True)\n"
        "read = model.predict_on_batch((last, *transforms))\n"
        "print(np.array_equal(read, apply_transforms(images, last, transforms)))\n"
    )
    assert on_jax("-c", code).split() == ["True"]
