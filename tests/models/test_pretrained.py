"""Training from pretrained weights, to a model that plain Keras loads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from tasks import classify, train
from tasks.device.precision import precision
from tasks.errors import RefusedError
from tasks.evaluate import evaluate
from tasks.models import network, pretrained, saved_model
from tasks.params import load_block
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train
from tasks.report import report
from tests.support import ROOT
from tests.support.arrays import BACKBONE, DATA, EVALUATED, HISTORY, MODEL, REPORTED, SIZES, write_arrays
from tests.support.parameters import SMALL, edit

LITE0 = {"model__network": "efficientnet_lite0", "train__epochs": 1, "train__batch_size": 60}
EARLIER = Path("earlier.keras")


def fit(backbone: Path = BACKBONE) -> dict[str, Any]:
    return train.train(normalized=DATA, backbone=backbone, model_path=MODEL, history_path=HISTORY)


@pytest.fixture(scope="module")
def fine_tuned_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune EfficientNet-Lite0 on small arrays, in a folder."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    edit(folder / "params.yaml", **{**SMALL, **LITE0}, train__learning_rate=0.01, regularize__dropout=0.1)
    write_arrays(folder / DATA, **SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit()
    return folder


@pytest.fixture
def fine_tuned(fine_tuned_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    """Load the model in a copy of the folder."""
    shutil.copytree(fine_tuned_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return saved_model.load_model(MODEL, (32, 32, 3), 4)


@pytest.mark.slow
def test_fine_tuning_moves_every_layer(fine_tuned: keras.Model) -> None:
    source = pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", None)
    assert not [layer.name for layer in source.layers[:-1] if layer.weights and _equal(layer, fine_tuned)]
    assert fine_tuned.name == "efficientnet_lite0"
    assert [layer.name for layer in fine_tuned.layers[-3:]] == ["features", "dropout", "logits"]
    scaling = fine_tuned.get_layer("normalization").get_config()
    assert (scaling["mean"], scaling["variance"]) == ([127.0] * 3, [128.0**2] * 3)


def _equal(layer: keras.Layer, model: keras.Model) -> bool:
    return all(map(np.array_equal, layer.get_weights(), model.get_layer(layer.name).get_weights()))


@pytest.mark.slow
def test_training_twice_gives_the_same_bytes(fine_tuned: keras.Model) -> None:
    first = MODEL.read_bytes(), HISTORY.read_bytes()
    assert fit()["precision"] == "float32"
    assert (MODEL.read_bytes(), HISTORY.read_bytes()) == first


@pytest.mark.slow
@pytest.mark.usefixtures("fine_tuned")
def test_the_model_loads_without_this_project_and_takes_raw_pixels(tmp_path: Path) -> None:
    images = np.load(DATA / "test_images.npy")[:5]
    np.save(tmp_path / "five.npy", images)
    code = (
        "import keras, numpy, sys\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "numpy.save(sys.argv[2], model.predict_on_batch(numpy.load(sys.argv[2])))\n"
        "assert not any(name.startswith('tasks') for name in sys.modules)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-c", code, str(MODEL.resolve()), str(tmp_path / "five.npy")]
    subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, check=True)
    expected = saved_model.load_model(MODEL, (32, 32, 3), 4).predict_on_batch(images)
    np.testing.assert_allclose(np.load(tmp_path / "five.npy"), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("fine_tuned")
def test_it_is_evaluated_and_classifies_as_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    Image.fromarray(np.load(DATA / "test_images.npy")[0]).save("picture.png")
    capsys.readouterr()
    assert classify.main(["picture.png", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert set(result["classes"]) == {"zero", "one", "two", "three"}


def test_the_saved_model_gives_the_logits_of_the_one_that_trains(workplace: Path) -> None:
    """Batch normalization is frozen in both; their files are equal."""
    edit(workplace / "params.yaml", **LITE0, model__input_size=48, regularize__l2=0.001)
    model_params, regularize = load_block("model", Model), load_block("regularize", Regularize)
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 32, 3), dtype=np.uint8)
    source = pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", 48)
    data_spec = network.DataSpec((40, 32, 3), 4, [1.0] * 3, [2.0] * 3)
    built = network.build_for_training(model_params, regularize, data_spec, images, "float32", source)
    saved = network.build_for_saving(built, model_params, regularize, data_spec, source)
    saved_model.save_model(saved, Path("a.keras"), "crop")
    copy = saved_model.load_model(Path("a.keras"), (40, 32, 3), 4)
    saved_model.save_model(copy, Path("b.keras"), "crop")
    assert Path("a.keras").read_bytes() == Path("b.keras").read_bytes()
    np.testing.assert_allclose(copy.predict_on_batch(images), built(images, training=True), atol=1e-5)
    assert len(built.losses) == 49  # every kernel but that of the logits


@pytest.fixture
def earlier(workplace: Path) -> Path:
    """Save a small model of ten classes, with another dropout."""
    edit(workplace / "params.yaml", regularize__dropout=0.5)
    model_params, regularize = load_block("model", Model), load_block("regularize", Regularize)
    keras.utils.set_random_seed(3)
    data_spec = network.DataSpec((32, 32, 3), 10, [100.0] * 3, [50.0] * 3)
    made = network.build(model_params, regularize, data_spec, layer_types=network.KERAS_OWN)
    saved_model.save_model(made, EARLIER, "crop")
    edit(workplace / "params.yaml", model__network="pretrained", regularize__dropout=0.2, train__epochs=1)
    return EARLIER


def test_a_model_of_an_earlier_run_is_trained_on(workplace: Path, earlier: Path) -> None:
    write_arrays(workplace / DATA, **SIZES)
    edit(workplace / "params.yaml", train__learning_rate=1e-7)
    assert fit(earlier)["precision"] == "float32"
    source, model = saved_model.load_model(earlier, (32, 32, 3), 10), saved_model.load_model(MODEL, (32, 32, 3), 4)
    for layer in (layer for layer in source.layers[:-1] if layer.weights):
        for before, after in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_allclose(after, before, atol=1e-4)
    assert model.get_layer("normalization").get_config()["mean"] == [100.0] * 3
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.2]


def test_a_model_for_another_size_is_refused_in_a_line(workplace: Path, earlier: Path) -> None:
    edit(workplace / "params.yaml", model__network="notebook_cnn", model__filters=[4, 8])
    model_params, regularize = load_block("model", Model), load_block("regularize", Regularize)
    data_spec = network.DataSpec((64, 64, 3), 4, [100.0] * 3, [50.0] * 3)
    made = network.build(model_params, regularize, data_spec, layer_types=network.KERAS_OWN)
    saved_model.save_model(made, earlier, "crop")
    write_arrays(workplace / DATA, **SIZES)
    edit(workplace / "params.yaml", model__network="pretrained")
    with pytest.raises(RefusedError) as caught:
        fit(earlier)
    (line,) = str(caught.value).splitlines()
    rule = "backbone in dvc.yaml must take images of 32 × 32 pixels; it was trained on 64 × 64, and dense has"
    assert line.startswith(rule)
    assert line.endswith("; set normalize.size")


def test_another_backbone_does_not_resume_a_training(
    workplace: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare by content, under the same name."""
    keys: list[str] = []

    class EndedError(Exception):
        """The key is known."""

    def end(key: str) -> None:
        keys.append(key)
        raise EndedError

    write_arrays(workplace / DATA, **SIZES)
    monkeypatch.setattr("tasks.train.Checkpoints", end)
    model = saved_model.load_model(earlier, None, None)
    for _ in range(2):
        with pytest.raises(EndedError):
            fit(earlier)
        model.layers[-1].set_weights([weight + 1 for weight in model.layers[-1].get_weights()])
        saved_model.save_model(model, earlier, "crop")
    assert len(set(keys)) == 2


def test_bfloat16_is_not_chosen_for_pretrained_networks(workplace: Path) -> None:
    def chosen(**changes: str) -> str:
        edit(workplace / "params.yaml", **changes)
        return precision(load_block("model", Model), load_block("train", Train))

    assert chosen(train__precision="auto") == "auto"
    assert chosen(model__network="efficientnet_lite0") == "float32"
    assert chosen(train__precision="mixed_bfloat16") == "mixed_bfloat16"
