"""Features: the same bits in any batch, stored for the next run."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import tasks.pretrained.features
from tasks.pretrained.features import compute_features
from tasks.run.kept import FOLDER
from tasks.training.checkpoints import Checkpoints

STORED = FOLDER / "features-k"
IMAGES = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network(112)


def network(n_features: int) -> keras.Model:
    """Build a network with the layers of a mobile one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    x = layers.Rescaling(1 / 128, -1.0, dtype="float32")(inputs)
    x = layers.Resizing(24, 24)(x)
    for filters in (24, 48):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = layers.BatchNormalization(trainable=False)(x)
        x = layers.ReLU(max_value=6)(x)
        x = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
    x = layers.Conv2D(n_features, 1, use_bias=False)(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks.pretrained.features, "STORED_TOGETHER", 128)


@pytest.mark.parametrize(("n_features", "batch_size"), [(112, 32), (100, 1)])
def test_an_image_has_the_same_bits_in_any_batch_and_place(n_features: int, batch_size: int) -> None:
    model = network(n_features)
    assert tasks.pretrained.features._batch_size(model, IMAGES.shape[1:]) == batch_size
    expected = compute_features(model, IMAGES, "k")
    assert expected.shape == (200, n_features)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected, model.predict(IMAGES, verbose=0), atol=1e-5)
    for number, rows in enumerate((np.arange(200)[::-1], np.arange(3, 200, 7), np.array([42]))):
        assert compute_features(model, IMAGES[rows], f"other-{number}").tobytes() == expected[rows].tobytes()


def test_another_draw_of_the_images_computes_only_new_ones(
    model: keras.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = np.arange(130), np.arange(199, 69, -1)
    without = compute_features(model, IMAGES[second], "never-before")
    compute_features(model, IMAGES[first], "k")
    capsys.readouterr()
    assert compute_features(model, IMAGES[second], "k").tobytes() == without.tobytes()
    assert "features: 60 of 130 kept from before, 70 computed in " in capsys.readouterr().out
    compute_features(model, IMAGES[second], "k")
    assert "features: 130 of 130 kept from before, 0 computed in " in capsys.readouterr().out


def test_progress_is_said_and_equal_images_are_computed_once(
    model: keras.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = compute_features(model, np.concatenate([IMAGES, IMAGES]), "k")
    assert twice[:200].tobytes() == twice[200:].tobytes()
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("features: 128 of 200 computed  ")
    assert output[0].endswith(" s left")
    assert output[1].startswith("features: 0 of 400 kept from before, 400 computed in ")
    assert len(output) == len(list(STORED.glob("*.npz"))) == 2


def test_a_file_that_was_being_written_is_no_feature(model: keras.Model, capsys: pytest.CaptureFixture[str]) -> None:
    compute_features(model, IMAGES, "k")
    file = next(STORED.glob("*.npz"))
    file.rename(file.with_name(f".part-{file.name}"))
    capsys.readouterr()
    compute_features(model, IMAGES, "k")
    assert "damaged" not in (output := capsys.readouterr().out)
    assert "200 of 200" not in output


def test_kept_features_last_a_month_from_their_last_use(model: keras.Model) -> None:
    for key in ("used", "unused"):
        compute_features(model, IMAGES[:10], key)
        os.utime(FOLDER / f"features-{key}", (0, 0))
    compute_features(model, IMAGES[:10], "used")
    Checkpoints("another")
    assert [path.name for path in FOLDER.iterdir()] == ["features-used"]
