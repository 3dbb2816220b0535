"""Stage train: data/normalized → models/classifier.keras and reports/history.csv.

`python -m tasks.train data/normalized models/classifier.keras reports/history.csv`

The model takes raw pixels, loads with plain `keras.models.load_model` without this project's code,
and the same weights are always the same bytes. Nothing is published when training diverges.
"""

from __future__ import annotations

import csv
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tasks import runtime, step  # before Keras: it silences the backend's start

# isort: split
import keras

from tasks.core import fitting, network
from tasks.params import read
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train

WHITENING_IMAGES = 5_000
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say


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
    training, validation = load_split(normalized, "train"), None
    if (normalized / "validation_labels.npy").exists():
        validation = load_split(normalized, "validation")
    elif regularize.early_stopping.patience:
        raise step.RefusedError(
            "regularize.early_stopping.patience must be 0 without a validation split; "
            f"received {regularize.early_stopping.patience}; raise normalize.validation_fraction or set it to 0"
        )

    trained = fresh(normalized, training, shape, regularize, machine.precision)
    speed: list[float] = []
    try:
        rows = fitting.fit(trained, training, validation, recipe, regularize, on_speed=speed.append)
    except fitting.DivergedError as error:
        raise step.RefusedError(str(error)) from error
    standard = fresh(normalized, training, shape, regularize, batch_normalization=keras.layers.BatchNormalization)
    standard.set_weights(trained.get_weights())
    save(standard, model)
    write_history(rows, history)
    return {
        "device": machine.device,
        "threads": machine.threads,
        "precision": machine.precision,
        "backend": keras.backend.backend(),
        "epochs": len(rows),
        "images_per_second": round(float(np.median(speed))),
    }


def fresh(
    normalized: Path,
    training: fitting.Split,
    shape: Model,
    regularize: Regularize,
    precision: str = "float32",
    **how: Any,
) -> keras.Model:
    """A network with fresh weights for the data of a folder, its frozen layers fitted to the training images.

    Raises
    ------
    tasks.step.RefusedError
        If the folder's constants would not scale pixels to finite numbers.
    """
    classes, constants = (json.loads((normalized / f"{name}.json").read_text()) for name in ("classes", "constants"))
    mean, std = constants["mean"], constants["std"]
    if not (np.isfinite(mean).all() and np.greater(std, 0).all()):
        raise step.RefusedError(
            f"{normalized}/constants.json must hold finite means and positive deviations; "
            f"received {mean} and {std}; run `dvc repro -f normalize`"
        )
    made = network.build(shape, regularize, mean, std, len(classes), precision, **how)
    network.whiten(made, training.images[:WHITENING_IMAGES], mean, std)
    return made


def load_split(normalized: Path, name: str) -> fitting.Split:
    """Map the arrays of one split into memory.

    Raises
    ------
    tasks.step.RefusedError
        If they are not uint8 images with as many labels.
    """
    images = np.load(normalized / f"{name}_images.npy", mmap_mode="r")
    labels = np.load(normalized / f"{name}_labels.npy")
    if images.dtype != np.uint8 or images.shape[1:] != network.SHAPE or labels.shape != images.shape[:1]:
        raise step.RefusedError(
            f"{normalized}/{name}_images.npy must be uint8 of shape (n, 32, 32, 3) with n labels; "
            f"received {images.dtype} of {images.shape} with {labels.shape}; run `dvc repro -f normalize`"
        )
    return fitting.Split(images, labels)


def save(model: keras.Model, path: Path) -> None:
    """Write a model such that the same weights are the same bytes, under its final name only when it reads back.

    Keras stamps the time into the archive's entries and its metadata; both are replaced here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped, partial = path.with_suffix(".stamped.keras"), path.with_suffix(".part.keras")
    try:
        model.save(stamped)
        with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(partial, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps({**json.loads(content), "date_saved": "1980-01-01@00:00:00"}).encode()
                target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
        copy = keras.models.load_model(partial)
        if not all(map(np.array_equal, model.get_weights(), copy.get_weights())):
            raise OSError(f"{partial} does not read back as it was written")
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        stamped.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def write_history(rows: list[fitting.Row], path: Path) -> None:
    """Write a row per epoch as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    step.run(train)
