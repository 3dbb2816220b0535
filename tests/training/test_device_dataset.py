"""Images in the device's memory, on whatever device the tests have."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from tasks.training.device_dataset import IndexBatches
from tests.support.jax import needs_jax, on_jax
from tests.support.training import EVERY_AUGMENT, batches, fit


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
    host, device = batches(how), batches(how, feed=IndexBatches)
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    shown = device.wrap(keras.Model(pixels, keras.layers.Identity(dtype="uint8")(pixels)))
    for step in (0, 4):  # the last batch is smaller
        (images, one_hot), (inputs, device_one_hot) = host[step], device[step]
        np.testing.assert_array_equal(shown(inputs), images)
        np.testing.assert_array_equal(device_one_hot, one_hot)


@pytest.mark.slow
def test_images_on_the_device_train_the_same_model() -> None:
    """Early stopping included, whose best weights omit the images."""
    how: dict[str, Any] = {"augment": EVERY_AUGMENT, "patience": 1}
    (on_host, host_rows), (on_device, device_rows) = fit(**how), fit(**how, feed=IndexBatches)
    for expected, weights in zip(on_host.get_weights(), on_device.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert device_rows[-1] == pytest.approx(host_rows[-1], abs=1e-3)


@pytest.mark.slow
@needs_jax
def test_a_training_on_jax_reads_the_pictures_of_the_host() -> None:
    """Read images at the start, in the middle and at the end."""
    result = json.loads(on_jax("-m", "bench.sides", "large", "images=300", "pixels=40").splitlines()[-1])
    assert result["pictures_equal_the_hosts"] == {"first": True, "middle": True, "last": True}


@pytest.mark.slow
@needs_jax
def test_images_beyond_32_bits_are_read_whole_on_jax() -> None:
    """Only the last images, beyond 32-bit indices of values, are not black."""
    code = (
        "import numpy as np\n"
        "from tasks.device.backend import keras\n"
        "from tasks.training.augmentation import SamplingGrid, apply_grid\n"
        "from tasks.training.device_dataset import with_device_dataset\n"
        "side, last = 1024, np.arange(700 - 8, 700, dtype=np.int32)\n"
        "images = np.zeros((700, side, side, 3), np.uint8)\n"
        "assert images.size > 2**31\n"
        "images[last] = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)\n"
        "rows = np.tile(np.arange(side, dtype=np.int32), (8, 1))\n"
        "grid = SamplingGrid(rows, rows[:, ::-1])\n"
        "pixels = keras.Input((side, side, 3), dtype='uint8')\n"
        "same = keras.Model(pixels, keras.layers.Identity(dtype='uint8')(pixels))\n"
        "model = with_device_dataset(same, images, (last, grid, ()))\n"
        "model.compile(jit_compile=True)\n"
        "read = model.predict_on_batch((last, grid, ()))\n"
        "print(np.array_equal(read, apply_grid(images, last, grid)))\n"
    )
    assert on_jax("-c", code).split() == ["True"]
