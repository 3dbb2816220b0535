"""A saved model: an older Keras knows it, and nothing is lost."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tasks.models import network, saved_model
from tasks.pretrained import efficientnet
from tests.support.training import model_params, regularize

OLDEST = "3.8.0"
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
EVERY = {
    "-".join(map(str, each)): each
    for each in [
        ("notebook_cnn", 0.0, 0.0, False),
        ("notebook_cnn", 0.02, 0.5, True),
        ("whitened_cnn", 0.0, 0.5, False),
        ("whitened_cnn", 0.02, 0.0, True),
        ("efficientnet_lite0", 0.02, 0.5, True),
    ]
}
# What the constructors of Keras 3.8.0 take, of the layers that the networks are made of.
SHAPE = (32, 32, 3)
ALL = {"name", "trainable", "dtype"}
KNOWN = {
    "InputLayer": "shape batch_size sparse batch_shape batch_tensor optional",
    "Normalization": "axis mean variance invert",
    "Conv2D": "filters kernel_size strides padding data_format dilation_rate groups activation use_bias "
    "kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer "
    "kernel_constraint bias_constraint",
    "DepthwiseConv2D": "kernel_size strides padding depth_multiplier data_format dilation_rate activation use_bias "
    "depthwise_initializer bias_initializer depthwise_regularizer bias_regularizer activity_regularizer "
    "depthwise_constraint bias_constraint",
    "BatchNormalization": "axis momentum epsilon center scale beta_initializer gamma_initializer "
    "moving_mean_initializer moving_variance_initializer beta_regularizer gamma_regularizer beta_constraint "
    "gamma_constraint synchronized",
    "ReLU": "max_value negative_slope threshold",
    "Activation": "activation",
    "MaxPooling2D": "pool_size strides padding data_format",
    "GlobalMaxPooling2D": "data_format keepdims",
    "GlobalAveragePooling2D": "data_format keepdims",
    "Add": "",
    "Resizing": "height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio fill_mode fill_value data_format",
    "Flatten": "data_format",
    "Dense": "units activation use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer "
    "activity_regularizer kernel_constraint bias_constraint lora_rank",
    "Dropout": "rate noise_shape seed",
    "Rescaling": "scale offset",
}


def built(name: str, l2: float, dropout: float, batch_norm: bool) -> keras.Model:
    """Build a network as train publishes it, with moved weights."""
    input_size = 48 if name == "efficientnet_lite0" else None
    made = network.build(
        model_params(network=name, input_size=input_size, filters=(4, 8), dense_units=8, activation="gelu"),
        regularize(l2=l2, dropout=dropout, batch_norm=batch_norm),
        network.DataSpec(SHAPE, 4, [120.0] * 3, [60.0] * 3),
        layer_types=network.KERAS_OWN,
        pretrained=efficientnet.build(input_size) if input_size else None,
    )
    rng = np.random.default_rng(1)
    made.set_weights([weight + rng.uniform(-0.05, 0.05, weight.shape) for weight in made.get_weights()])
    return made


@pytest.fixture(scope="module", params=EVERY)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    model, path = built(*EVERY[request.param]), tmp_path_factory.mktemp("saved") / "m.keras"
    saved_model.save_model(model, path, "crop")
    return SimpleNamespace(model=model, path=path)


def test_the_configuration_is_known_to_keras_3_8(saved: SimpleNamespace) -> None:
    with zipfile.ZipFile(saved.path) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert json.loads(archive.read("metadata.json"))["date_saved"].startswith("1980")
        config = json.loads(archive.read("config.json"))
    assert "initializer" not in json.dumps(config)
    layers = {layer["class_name"]: layer["config"].keys() for layer in config["config"]["layers"]}
    layers["InputLayer"] -= {"ragged"}  # it takes any further key
    assert {kind: list(keys - ALL - set(KNOWN[kind].split())) for kind, keys in layers.items()} == {
        kind: [] for kind in layers
    }
    assert ('"L2"' in json.dumps(config)) == bool(saved.model.losses)


def test_a_model_reads_back_with_every_setting_and_answer(saved: SimpleNamespace) -> None:
    model = saved.model
    copy = saved_model.load_model(saved.path, SHAPE, 4)
    assert json.dumps(copy.get_config()) == json.dumps(model.get_config())
    assert [float(loss) for loss in copy.losses] == [float(loss) for loss in model.losses]
    np.testing.assert_array_equal(copy.predict_on_batch(IMAGES), model.predict_on_batch(IMAGES))


@pytest.mark.slow
@pytest.mark.long
def test_an_older_keras_gives_the_same_logits(tmp_path: Path) -> None:
    """Load it in an environment of its own, on another backend."""
    for name, each in EVERY.items():
        model, path = built(*each), tmp_path / f"{name}.keras"
        saved_model.save_model(model, path, "crop")
        np.save(path.with_suffix(".npy"), model.predict_on_batch(IMAGES))
    np.save(tmp_path / "images.npy", IMAGES)
    uv, old = Path(sys.executable).with_name("uv"), tmp_path / "old"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, old], check=True)
    packages = f"keras=={OLDEST}", "jax==0.10.2"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", old / "bin/python", *packages], check=True)
    code = (
        "import keras, numpy, pathlib\n"
        "images = numpy.load('images.npy')\n"
        "for path in sorted(pathlib.Path().glob('*.keras')):\n"
        "    result, expected = keras.models.load_model(path)(images), numpy.load(path.with_suffix('.npy'))\n"
        "    numpy.testing.assert_allclose(result, expected, atol=1e-5, rtol=0, err_msg=path.name)\n"
        "    print(keras.__version__, path.stem)\n"
    )
    done = subprocess.run(
        [old / "bin/python", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(old), "KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{OLDEST} {name}" for name in sorted(EVERY)]
