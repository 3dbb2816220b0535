"""Stage export on a small model: equal files, and what makes the stage fail."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tasks import errors
from tasks.export import export
from tasks.exporting import onnx_graph
from tasks.exporting.about import About
from tasks.exporting.formats import open_exported
from tasks.models.saved_model import save_model
from tests.support.arrays import DATA, FOLDS, MODEL, NAMES, write_arrays
from tests.support.parameters import edit

EXPORTS, PARITY = Path("models/exports"), Path("reports/export.json")
PATHS: dict[str, Any] = {
    "normalized": DATA, "model_path": MODEL, "folds_path": FOLDS, "exports": EXPORTS, "metrics_path": PARITY,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a layer that resizes, which is as good as a trained one here."""
    folder = tmp_path_factory.mktemp("made")
    write_arrays(folder / DATA, train=300, validation=60, test=80)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3), dtype="uint8", name="pixels")
    x = layers.Normalization(mean=[60.0, 50.0, 40.0], variance=[1600.0, 900.0, 400.0])(inputs)
    x = layers.Resizing(21, 43)(x)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu6")(x)
    x = layers.Dense(4, name="logits", kernel_initializer=keras.initializers.RandomNormal(stddev=0.05))(
        layers.Flatten()(x)
    )
    (folder / MODEL).parent.mkdir()
    save_model(keras.Model(inputs, x), folder / MODEL, "crop")
    return folder


@pytest.fixture(autouse=True)
def workspace(made: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, workplace, dirs_exist_ok=True)
    monkeypatch.setattr("tasks.export.fit_temperature", lambda *_: 0.5)  # so few images justify none


def test_a_file_predicts_as_the_model_and_says_what_it_is() -> None:
    info = export(**PATHS)
    parity = json.loads(PARITY.read_text())["onnx"]
    assert (parity["n"], parity["other_labels"], parity["accuracy_difference"]) == (80, 0, 0)
    assert parity["largest_difference"] <= 1e-4
    assert parity["bytes"] == (EXPORTS / "classifier.onnx").stat().st_size
    assert info["milliseconds"]["onnx"].keys() == {"batch of 1", "batch of 64"}
    about = open_exported("onnx", EXPORTS).about
    assert about[:5] == (NAMES, 32, 32, "crop", 0.5)
    first = (EXPORTS / "classifier.onnx").read_bytes()
    export(**PATHS)
    assert (EXPORTS / "classifier.onnx").read_bytes() == first


def test_without_formats_nothing_is_written_and_nothing_is_claimed() -> None:
    edit(Path("params.yaml"), export__formats=[])
    assert export(**PATHS) == {"milliseconds": {}}
    assert (list(EXPORTS.iterdir()), json.loads(PARITY.read_text())) == ([], {})


def swap_channels(patch: pytest.MonkeyPatch) -> None:
    def write(graph: onnx_graph.Graph, layer: Any, x: str) -> str:
        swapped = graph.add("Gather", x, graph.constant([1, 0, 2], np.int64), axis=1)
        return normalize(graph, layer, swapped)

    normalize = onnx_graph.LAYERS["Normalization"]
    patch.setitem(onnx_graph.LAYERS, "Normalization", write)


def drop_the_temperature(patch: pytest.MonkeyPatch) -> None:
    def write(model: keras.Model, about: About) -> bytes:
        return onnx_graph.write_onnx(model, about._replace(temperature=None))

    patch.setattr("tasks.export.write_onnx", write)


def resize_otherwise(patch: pytest.MonkeyPatch) -> None:
    def add(graph: onnx_graph.Graph, operator: str, *inputs: str, **attributes: Any) -> str:
        if operator == "Resize":
            attributes["coordinate_transformation_mode"] = "asymmetric"
        return as_before(graph, operator, *inputs, **attributes)

    as_before = onnx_graph.Graph.add
    patch.setattr(onnx_graph.Graph, "add", add)


@pytest.mark.parametrize("change", [swap_channels, drop_the_temperature, resize_otherwise])
def test_a_writer_that_errs_fails_the_stage_and_images_are_named(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(**PATHS)
    change(monkeypatch)
    before = PARITY.read_bytes()
    with pytest.raises(
        errors.RefusedError, match=r"classifier\.onnx must .+ of 80 test images are beyond, such as test/"
    ):
        export(**PATHS)
    assert PARITY.read_bytes() == before


def test_a_file_that_is_damaged_is_refused() -> None:
    EXPORTS.mkdir(parents=True)
    for format, file in (("onnx", "classifier.onnx"), ("litert", "classifier.tflite")):
        (EXPORTS / file).write_bytes(b"no model")
        with pytest.raises(errors.RefusedError, match=rf"{file} must be a file that stage export wrote: .+`dvc repro`"):
            open_exported(format, EXPORTS)


@pytest.mark.slow
def test_litert_predicts_the_same_and_integers_nearly() -> None:
    edit(Path("params.yaml"), export__formats=["litert", "litert_int8"])
    export(**PATHS)
    parity = json.loads(PARITY.read_text())
    assert parity["litert"]["other_labels"] == 0
    assert parity["litert"]["largest_difference"] <= 1e-4
    assert 0 < parity["litert_int8"]["largest_difference"] < 0.2
    assert parity["litert_int8"]["bytes"] < 0.6 * parity["litert"]["bytes"]  # of a network as small as this
    assert open_exported("litert_int8", EXPORTS).about == open_exported("litert", EXPORTS).about
