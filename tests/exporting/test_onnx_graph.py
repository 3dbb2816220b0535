"""The ONNX writer: every network, in ONNX Runtime, against Keras."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import softmax

from tasks import errors
from tasks.exporting.about import About
from tasks.exporting.formats import open_exported
from tasks.exporting.onnx_graph import write_onnx
from tasks.models.network import KERAS_OWN, DataSpec, build
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.pretrained import efficientnet
from tests.support.parameters import NOTEBOOK, OFF

ABOUT = About(["a, b", 'c "d"', "e\nf", "é" * 127], 20, 23, "pad", 0.37, "0" * 32, "1" * 32)
WHITENED = {"network": "whitened_cnn", "filters": (4, 6)}
NETWORKS: dict[str, dict[str, Any]] = {
    "notebook_cnn": {"filters": (4, 5, 6)},
    "pools before it normalizes": {"filters": (4, 5, 6), "pool_before_norm": True},
    "whitened_cnn": WHITENED,
    "gelu": {**WHITENED, "activation": "gelu"},
}


def images(height: int = 20, width: int = 23) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, height, width, 3), np.uint8)


def unsettle(model: keras.Model) -> keras.Model:
    """Give every weight a random part: untrained, batch normalization would do nothing."""
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.uniform(0.05, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def assert_equal(model: keras.Model, folder: Path, about: About = ABOUT) -> None:
    pixels = images(about.height, about.width)
    logits = model.predict_on_batch(pixels).astype(np.float64)
    if about.temperature:  # one that leaves every class a share: random weights give logits of hundreds
        about = about._replace(temperature=float(logits.std()))
    content = write_onnx(model, about)
    assert write_onnx(model, about) == content
    (folder / "classifier.onnx").write_bytes(content)
    opened = open_exported("onnx", folder)
    assert opened.about == about
    expected = softmax(logits / (about.temperature or 1), axis=1)
    assert expected.std() > 0.01
    np.testing.assert_allclose(opened.predict(pixels), expected, rtol=0, atol=1e-5)


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_network_predicts_the_same(changes: dict[str, Any], batch_norm: bool, tmp_path: Path) -> None:
    regularize = Regularize(**{**OFF, "batch_norm": batch_norm, "dropout": 0.1})
    spec = DataSpec((20, 23, 3), 4, [120.0, 110.0, 90.0], [60.0, 61.0, 70.0])
    assert_equal(unsettle(build(Model(**{**NOTEBOOK, **changes}), regularize, spec, layer_types=KERAS_OWN)), tmp_path)


@pytest.mark.parametrize(("input_size", "height", "width"), [(48, 20, 23), (33, 64, 50), (None, 40, 35)])
def test_efficientnet_predicts_the_same(
    input_size: int | None, height: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet, "STAGES", [stage._replace(repeats=2) for stage in efficientnet.STAGES[:3]])
    pretrained = efficientnet.build(input_size)
    spec = DataSpec((height, width, 3), 4, [0.0] * 3, [1.0] * 3)
    params = Model(**{**NOTEBOOK, "network": "efficientnet_lite0", "input_size": input_size})
    model = build(params, Regularize(**OFF), spec, layer_types=KERAS_OWN, pretrained=pretrained)
    model.get_layer("logits").set_weights([np.random.default_rng(2).normal(size=(1280, 4)), np.arange(4) / 9])
    assert_equal(model, tmp_path, ABOUT._replace(height=height, width=width, temperature=None))


@pytest.mark.parametrize(
    ("layer", "said"),
    [(layers.AveragePooling2D(2), "AveragePooling2D in "), (layers.Activation("tanh"), "tanh in ")],
)
def test_what_cannot_be_written_is_refused(layer: Any, said: str) -> None:
    inputs = keras.Input((20, 23, 3), dtype="uint8")
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(layer(layers.Rescaling(1.0)(inputs)))))
    with pytest.raises(errors.RefusedError, match=rf"received {said}.+; take onnx out of export\.formats"):
        write_onnx(model, ABOUT)
