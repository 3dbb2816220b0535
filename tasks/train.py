"""Stage train: data/normalized → models/classifier.keras and reports/history.csv.

`python -m tasks.train data/normalized models/classifier.keras reports/history.csv`

The model takes raw pixels, loads with plain `keras.models.load_model` without this project's code,
and the same weights are always the same bytes. Nothing is published when training diverges.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tasks import runtime, step  # before Keras: it silences the backend's start

# isort: split
import keras

from tasks import arrays, checkpoints, saved_model
from tasks.core import fitting, network
from tasks.core.state import Row
from tasks.params import read
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train

WHITENING_IMAGES = 5_000


def train(normalized: Path, model: Path, history: Path) -> step.Facts:
    """Train the network of params.yaml and publish it with its history.

    Raises
    ------
    tasks.step.RefusedError
        If the data or the parameters cannot be trained on, or training diverges.
    """
    shape, regularize, recipe = read(Model), read(Regularize), read(Train)
    try:
        machine = runtime.prepare(recipe.device, recipe.threads, recipe.precision, recipe.seed, recipe.deterministic)
    except runtime.DeviceError as error:
        raise step.RefusedError(str(error)) from error
    if recipe.optimizer == "adam" and regularize.weight_decay:
        raise step.RefusedError(
            f"regularize.weight_decay must be 0 with train.optimizer adam; received {regularize.weight_decay}; "
            "set it to 0, or the optimizer to adamw"
        )
    print(machine)
    (mean, std), n_classes = arrays.constants(normalized), len(arrays.class_names(normalized))
    training, validation = fitting.Split(*arrays.load_split(normalized, "train", n_classes)), None
    if (normalized / "validation_labels.npy").exists():
        validation = fitting.Split(*arrays.load_split(normalized, "validation", n_classes))
    elif regularize.early_stopping.patience:
        raise step.RefusedError(
            "regularize.early_stopping.patience must be 0 without a validation split; "
            f"received {regularize.early_stopping.patience}; raise normalize.validation_fraction or set it to 0"
        )

    trained = network.build(shape, regularize, mean, std, n_classes, machine.precision)
    network.initialize(trained, training.images[:WHITENING_IMAGES], mean, std)
    saved = checkpoints.Checkpoints(
        checkpoints.key((shape, regularize, recipe), normalized.glob("*"), f"{machine} {keras.backend.backend()}")
    )
    if start := saved.newest():
        print(f"going on after epoch {len(start.rows)}, where an earlier run of the same inputs was cut short")
    speed: list[float] = []
    try:
        rows = fitting.fit(
            trained, training, validation, recipe, regularize, speed.append, machine.has_gpu, start, saved.keep
        )
    except fitting.DivergedError as error:
        raise step.RefusedError(str(error)) from error
    standard = network.build(
        shape, regularize, mean, std, n_classes, batch_normalization=keras.layers.BatchNormalization
    )
    standard.set_weights(trained.get_weights())
    with step.publishing(model, history) as (model_file, history_file):
        saved_model.save(standard, model_file)
        write_history(rows, history_file)
    saved.remove()
    return {
        "device": machine.device,
        "threads": machine.threads,
        "precision": machine.precision,
        "backend": keras.backend.backend(),
        "epochs": len(rows),
        "images_per_second": round(float(np.median(speed))),
    }


def write_history(rows: list[Row], path: Path) -> None:
    """Write a row per epoch as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    step.run(train)
