"""Training from pretrained weights, to a model that plain Keras loads."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tasks import train
from tasks.errors import RefusedError
from tasks.models import network, pretrained, saved_model
from tests.support.arrays import BACKBONE, DATA, FOLDS, HISTORY, MODEL, SIZES, write_arrays
from tests.support.parameters import edit
from tests.support.training import model_params, regularize, save_earlier

SGD = {"train__epochs": 1, "train__optimizer": "sgd"}
LITE0 = {"model__network": "efficientnet_lite0", "train__batch_size": 60, **SGD}
EARLIER = Path("earlier.keras")


def fit(backbone: Path = BACKBONE) -> dict[str, Any]:
    return train.train(normalized=DATA, backbone=backbone, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)


@pytest.mark.slow
def test_fine_tuning_moves_every_layer_and_repeats_to_the_byte(workplace: Path) -> None:
    edit(workplace / "params.yaml", **LITE0, train__learning_rate=0.01, regularize__dropout=0.1)
    write_arrays(workplace / DATA, **SIZES)
    fit()
    source = pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", None)
    model = saved_model.load_model(MODEL, (32, 32, 3), 4)
    for layer in (layer for layer in source.layers[:-1] if layer.weights):
        assert not all(map(np.array_equal, layer.get_weights(), model.get_layer(layer.name).get_weights()))
    assert model.name == "efficientnet_lite0"
    assert [layer.name for layer in model.layers[-3:]] == ["features", "dropout", "logits"]
    scaling = model.get_layer("normalization").get_config()
    assert (scaling["mean"], scaling["variance"]) == ([127.0] * 3, [128.0**2] * 3)
    first = MODEL.read_bytes(), HISTORY.read_bytes()
    fit()
    assert (MODEL.read_bytes(), HISTORY.read_bytes()) == first


@pytest.mark.usefixtures("workplace")
def test_the_saved_model_gives_the_logits_of_the_one_that_trains() -> None:
    """Batch normalization is frozen in both; their files are equal."""
    params, regularizers = model_params(network="efficientnet_lite0", input_size=48), regularize(l2=0.001)
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 32, 3), dtype=np.uint8)
    source = pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", 48)
    data_spec = network.DataSpec((40, 32, 3), 4, [1.0] * 3, [2.0] * 3)
    built = network.build_for_training(params, regularizers, data_spec, images, "float32", source)
    saved = network.build_for_saving(built, params, regularizers, data_spec, source)
    saved_model.save_model(saved, Path("a.keras"), "crop")
    copy = saved_model.load_model(Path("a.keras"), (40, 32, 3), 4)
    saved_model.save_model(copy, Path("b.keras"), "crop")
    assert Path("a.keras").read_bytes() == Path("b.keras").read_bytes()
    np.testing.assert_allclose(copy.predict_on_batch(images), built(images, training=True), atol=1e-5)
    assert len(built.losses) == 49  # every kernel but that of the logits


@pytest.fixture
def earlier(workplace: Path) -> Path:
    """Save a small model of ten classes, with another dropout."""
    data_spec = network.DataSpec((32, 32, 3), 10, [100.0] * 3, [50.0] * 3)
    save_earlier(workplace / EARLIER, data_spec, network="whitened_cnn", filters=(4, 8))
    write_arrays(workplace / DATA, **SIZES)
    edit(workplace / "params.yaml", model__network="pretrained", regularize__dropout=0.2, **SGD)
    return EARLIER


def test_a_model_of_an_earlier_run_is_trained_on(workplace: Path, earlier: Path) -> None:
    edit(workplace / "params.yaml", train__learning_rate=1e-7)
    fit(earlier)
    source, model = saved_model.load_model(earlier, (32, 32, 3), 10), saved_model.load_model(MODEL, (32, 32, 3), 4)
    for layer in (layer for layer in source.layers[:-1] if layer.weights):
        for before, after in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_allclose(after, before, atol=1e-4)
    assert model.get_layer("normalization").get_config()["mean"] == [100.0] * 3
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.2]


def test_a_model_for_another_size_is_refused_in_a_line(earlier: Path) -> None:
    save_earlier(earlier, network.DataSpec((64, 64, 3), 4, [100.0] * 3, [50.0] * 3), filters=(4, 8))
    with pytest.raises(RefusedError) as caught:
        fit(earlier)
    (line,) = str(caught.value).splitlines()
    rule = "backbone in dvc.yaml must take images of 32 × 32 pixels; it was trained on 64 × 64, and dense has"
    assert line.startswith(rule)
    assert line.endswith("; set normalize.size")


def test_another_backbone_of_one_name_does_not_resume(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    class EndedError(Exception):
        """The key is known."""

    def end(key: str) -> None:
        keys.append(key)
        raise EndedError

    monkeypatch.setattr("tasks.train.Checkpoints", end)
    model = saved_model.load_model(earlier, None, None)
    for _ in range(2):
        with pytest.raises(EndedError):
            fit(earlier)
        model.layers[-1].set_weights([weight + 1 for weight in model.layers[-1].get_weights()])
        saved_model.save_model(model, earlier, "crop")
    assert len(set(keys)) == 2


def test_bfloat16_leaves_out_pixels_and_depthwise_convolutions() -> None:
    source, images = pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", 48), np.zeros((4, 40, 32, 3), np.uint8)
    data_spec = network.DataSpec((40, 32, 3), 4, [1.0] * 3, [2.0] * 3)
    params = model_params(network="efficientnet_lite0", input_size=48)
    model = network.build_for_training(params, regularize(), data_spec, images, "mixed_bfloat16", source)
    in_float32 = (keras.layers.Normalization, keras.layers.Resizing, keras.layers.DepthwiseConv2D)
    layers = [layer for layer in model.layers[:-1] if layer.name not in {"pixels", "logits"}]
    assert [layer.name for layer in layers if (layer.compute_dtype == "float32") != isinstance(layer, in_float32)] == []
