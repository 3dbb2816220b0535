"""Hostile or damaged model files are refused, and run no code."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tasks.errors import RefusedError
from tasks.models import saved_model
from tests.support import state_dicts

Config = dict[str, Any]
RAN = Path("ran")


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a small model of the right shape, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.ReLU(dtype="float32")(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(flat)).save("good.keras")
    return Path("good.keras")


def rewritten(good: Path, change: Callable[[Config], Any] = lambda config: config, member: str = "") -> Path:
    """Copy a model with another configuration, and a further member."""
    copy = Path("hostile.keras")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                content = json.dumps(change(json.loads(content))).encode()
            target.writestr(name, content)
        if member:
            target.writestr(member, b"x")
    return copy


def layer(**changes: Any) -> Callable[[Config], Config]:

    def change(config: Config) -> Config:
        activation = next(one for one in config["config"]["layers"] if one["class_name"] == "ReLU")
        activation.update(registered_name=None, **changes)
        return config

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(layer(class_name="system", module="os", config={"command": f"touch {RAN}"}), id="os.system"),
        pytest.param(
            lambda config: {**config, "class_name": "Popen", "module": "subprocess", "registered_name": None},
            id="another class as the model",
        ),
        pytest.param(lambda config: {}, id="no configuration"),
        pytest.param(lambda config: [config], id="a list"),
    ],
)
def test_code_in_a_model_is_refused_and_does_not_run(good: Path, change: Callable[[Config], Any]) -> None:
    with pytest.raises(RefusedError, match=r"hostile.keras must be a Keras model that loads in safe mode: "):
        saved_model.load_model(rewritten(good, change), (32, 32, 3), 10)
    assert not RAN.exists()


def test_the_code_of_a_lambda_would_run_without_safe_mode(good: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    touching = keras.layers.Lambda(lambda x: [__import__("pathlib").Path("ran").touch(), x][1])
    flat = keras.layers.Flatten()(touching(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(flat)).save("hostile.keras")
    RAN.unlink()
    with pytest.raises(RefusedError, match="Lambda"):
        saved_model.load_model(Path("hostile.keras"), (32, 32, 3), 10)
    assert not RAN.exists()
    keras.models.load_model("hostile.keras", safe_mode=False)(np.zeros((1, 32, 32, 3)))
    assert RAN.exists()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped-from-a-model", "assets/../../escaped"])
def test_a_member_outside_of_the_model_archive_is_refused(good: Path, name: str) -> None:
    with pytest.raises(RefusedError, match=f"it holds {name}, a path outside of the archive"):
        saved_model.load_model(rewritten(good, member=name), (32, 32, 3), 10)
    assert not Path(name).exists()


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(state_dicts.Runs()), b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"],
    ids=["pickle", "empty", "zip", "hdf5"],
)
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_what_is_no_keras_archive_is_refused_under_any_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RefusedError, match="must be a Keras model that loads in safe mode"):
        saved_model.load_model(path, (32, 32, 3), 10)
    assert not RAN.exists()


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_model_is_refused(good: Path, damage: str) -> None:
    content = bytearray(good.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    good.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(RefusedError, match="must be a Keras model that loads in safe mode"):
        saved_model.load_model(good, (32, 32, 3), 10)


def test_a_model_for_other_images_or_classes_is_refused(good: Path) -> None:
    assert saved_model.load_model(good, (32, 32, 3), 10).output_shape == (None, 10)
    with pytest.raises(RefusedError, match="and give 9 logits; received"):
        saved_model.load_model(good, (32, 32, 3), 9)
    inputs = keras.Input((28, 28, 3))
    keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs))).save("other.keras")
    with pytest.raises(RefusedError, match=r"must take \(32, 32, 3\) pixels and give 10 logits; received"):
        saved_model.load_model(Path("other.keras"), (32, 32, 3), 10)
