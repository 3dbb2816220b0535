"""Stage export: model → files for other runtimes, and their equality.

`python -m tasks.export --normalized data/normalized --model models/classifier.keras --folds models/folds.npz
--exports models/exports --metrics reports/export.json`

A file takes raw pixels and gives calibrated probabilities, without test-time augmentation. How fast it is stands in the
note on the run, since it is no property of the file.
RefusedError: damaged data, a layer that a format lacks, or a file that predicts otherwise than the model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks import errors
from tasks.data import arrays
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.exporting import parity
from tasks.exporting.about import About, describe_model
from tasks.exporting.formats import FORMATS, open_exported, predict_all
from tasks.exporting.litert import write_litert
from tasks.exporting.onnx_graph import write_onnx
from tasks.metrics.calibration import apply_temperature, fit_temperature
from tasks.metrics.predictions import Predicted
from tasks.metrics.summarize import to_json
from tasks.models import saved_model
from tasks.models.fold_weights import predict_split
from tasks.models.inference import predict
from tasks.params import load_block
from tasks.params.export import Export
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

BATCH_SIZE = 1000  # images per prediction of the model
SAMPLE = 500  # training images from which the ranges of 8 bit integers are taken
SHOWN = 3  # images that a failure names


def export(
    *, normalized: Path, model_path: Path, folds_path: Path, exports: Path, metrics_path: Path
) -> command_line.RunInfo:
    """Write a model in each format, and measure how equal it predicts."""
    export_params, names = load_block("export", Export), arrays.class_names(normalized)
    machine = runtime.prepare("cpu")  # a GPU may round float32 to TF32
    model = saved_model.load_model(model_path, arrays.image_shape(normalized), len(names))
    about = describe_model(model_path, normalized, fit_held_out(model, normalized, folds_path))
    images, y_true = arrays.load_split(normalized, "test", len(names))
    predicted = Predicted(y_true, apply_temperature(predict(model, images, BATCH_SIZE), about.temperature or 1.0))
    metrics: dict[str, Any] = {}
    milliseconds: dict[str, Any] = {}
    with atomic_outputs(exports, metrics_path) as (folder, json):
        folder.mkdir()
        for name in export_params.formats:
            file = folder / FORMATS[name].file
            write(name, model, model_path, about, normalized, file)
            received = predict_all(open_exported(name, folder, machine.threads).predict, images)
            points = None if FORMATS[name].has_floats else export_params.int8_tolerance
            found = parity.compare(predicted, received, export_params.tolerance, points)
            refuse_unequal(file.name, found, arrays.files(normalized, "test"), export_params)
            metrics[name] = {**found.metrics, "bytes": file.stat().st_size}
            if arrays.held_out_split(normalized) == "test":
                del metrics[name]["accuracy"]  # folds held these images out, and the model learnt from all of them
            milliseconds[name] = parity.time_batches(open_exported(name, folder, 1).predict, images)
            print(f"export: {file.name}: {describe_parity(found)}")
        json.write_text(to_json(metrics), encoding="utf-8", newline="\n")
    return {"milliseconds": milliseconds}


def fit_held_out(model: keras.Model, normalized: Path, folds_path: Path) -> float | None:
    """Fit the temperature on images that the model did not learn from."""
    if (split := arrays.unseen_split(normalized)) is None:
        return None
    images, y_true = arrays.load_split(normalized, split, len(arrays.class_names(normalized)))
    return fit_temperature(y_true, predict_split(model, normalized, split, images, folds_path, batch_size=BATCH_SIZE))


def write(name: str, model: keras.Model, model_path: Path, about: About, normalized: Path, file: Path) -> None:
    """Write a model as a file of a format."""
    if name == "onnx":
        file.write_bytes(write_onnx(model, about))
        return
    images = arrays.load_split(normalized, "train", len(about.classes))[0]
    sample = images[np.linspace(0, len(images) - 1, min(SAMPLE, len(images)), dtype=int)]
    write_litert(model_path, about, None if FORMATS[name].has_floats else sample, file)


def refuse_unequal(file: str, found: parity.Parity, names: Sequence[str], allowed: Export) -> None:
    """Refuse a file that predicts otherwise, and name the images."""
    if len(found.beyond):
        shown = ", ".join(names[row] for row in found.beyond[:SHOWN])
        raise errors.RefusedError(
            f"{file} must predict as the model does, within export.tolerance {allowed.tolerance:g} and "
            f"export.int8_tolerance {allowed.int8_tolerance:g}; {len(found.beyond):,} of {len(names):,} test images "
            f"are beyond, such as {shown} ({describe_parity(found)}); take its format out of export.formats, or raise "
            "the tolerance; `dvc checkout && git checkout -- reports` brings the old files back"
        )


def describe_parity(found: parity.Parity) -> str:
    """Describe how the predictions of a file differ, in one line."""
    metrics = found.metrics
    return (
        f"accuracy {100 * metrics['accuracy_difference']:+.2f} points from the model's, "
        f"{metrics['other_labels']:,} of {metrics['n']:,} labels differ, "
        f"probabilities by at most {metrics['largest_difference']:.1e}"
    )


if __name__ == "__main__":
    command_line.run(export)
