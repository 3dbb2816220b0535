"""Stage train: data/normalized → models/classifier.keras and reports/history.csv.

`python -m tasks.train --normalized data/normalized --backbone data/efficientnet_lite0.sha256
--model models/classifier.keras --history reports/history.csv`

A pretrained network starts from a probe: its logits are fitted on the features of its frozen layers. With
`model.trainable: head` that is all of the training; with `all` every layer is then trained, from logits that no longer
pull the features about (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

The model takes raw pixels, loads with plain `keras.models.load_model` without this project's code,
and the same weights are always the same bytes. Nothing is published when training diverges.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from tasks import errors
from tasks.data import arrays
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.device.precision import precision
from tasks.models import pretrained, saved_model
from tasks.models.network import build_for_saving, build_for_training
from tasks.params import PARAMS_FILE, read
from tasks.params.joint import check_joint_rules
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train
from tasks.run import command_line, provenance
from tasks.run.outputs import atomic_outputs
from tasks.training import checkpoints
from tasks.training.batches import Batches, IndexBatches, Split
from tasks.training.callbacks import DivergedError
from tasks.training.loop import fit
from tasks.training.state import Row

DEVICE_BYTES = 4 * 2**30  # of images that a GPU's memory has room for beside a training


def train(*, normalized: Path, backbone: Path, model_path: Path, history_path: Path) -> command_line.RunInfo:
    """Train the network of params.yaml and publish it with its history.

    `backbone` names the weights that a pretrained network starts from; the others do not read it.

    Raises
    ------
    tasks.params.ParameterError
        If the parameters break a rule.
    tasks.errors.RefusedError
        If the data or the backbone cannot be trained on, the device is missing, or training diverges.
    """
    model_params, regularize, train_params = read("model", Model), read("regularize", Regularize), read("train", Train)
    has_validation = "validation" in arrays.splits(normalized)
    check_joint_rules(model_params, regularize, train_params, has_validation, str(PARAMS_FILE))
    machine = _prepared(model_params, train_params)
    print(machine)
    (mean, std), n_classes = arrays.mean_std(normalized), len(arrays.class_names(normalized))
    training, validation = _load_splits(normalized, n_classes, has_validation)
    shortest = min(training.images.shape[1:3])
    if regularize.augment.translate >= shortest:  # the reflection of an image ends there
        raise errors.RefusedError(
            f"regularize.augment.translate must be below {shortest}, the shorter side of the images; received "
            f"{regularize.augment.translate}"
        )

    classifier, inputs = None, [arrays.description_path(normalized)]
    if model_params.is_pretrained:
        classifier = pretrained.read(backbone, model_params.network, model_params.input_size)
        inputs.append(backbone)
    try:
        trained = build_for_training(
            model_params, regularize, training.images, n_classes, mean, std, machine.precision, classifier
        )
    except ValueError as error:
        raise errors.RefusedError(str(error)) from error
    blocks, machine_settings = (model_params, regularize, train_params), f"{machine} {keras.backend.backend()}"
    saved = checkpoints.Checkpoints(checkpoints.key(blocks, inputs, machine_settings))
    if state := saved.newest():
        print(f"going on after epoch {len(state.rows)}, where an earlier run of the same inputs was cut short")
    probe = None
    if classifier:
        from tasks.training.probe import (
            Probe,  # with scikit-learn, which takes a second that other trainings need not wait
        )

        settings = f"{machine_settings} {model_params.network} {model_params.input_size} {training.images.shape[1:]}"
        probe = Probe(trained, checkpoints.key((), [backbone], settings))
    throughput: list[float] = []
    try:
        if probe and not state:
            probe.fit(training, train_params, machine.threads)
        if probe and model_params.trainable == "head":  # no state of it is ever saved
            rows = [probe.score(training, validation, train_params.seed)]
        else:
            rows = fit(
                trained,
                training,
                validation,
                train_params,
                regularize,
                feed=feed_for(machine, training),
                resume_from=state,
                on_state=saved.save,
                on_throughput=throughput.append,
            )
    except DivergedError as error:
        raise errors.RefusedError(str(error)) from error
    with atomic_outputs(model_path, history_path) as (model_file, history_file):
        saved_model.save(
            build_for_saving(trained, model_params, regularize, mean, std, classifier),
            model_file,
            arrays.resize_mode(normalized),
        )
        write_history(rows, history_file)
    saved.remove()
    made_with: dict[str, Any] = {
        "precision": machine.precision,
        "threads": machine.threads,
        "device": machine.device,
        "backend": keras.backend.backend(),
    }
    provenance.record(made_with)
    return {
        **made_with,
        "epochs": len(rows),
        **({"images_per_second": round(float(np.median(throughput)))} if throughput else {}),
    }


def _prepared(model_params: Model, train_params: Train) -> runtime.Machine:
    device, threads, chosen = train_params.device, train_params.threads, precision(model_params, train_params)
    try:
        return runtime.prepare(device, threads, chosen, train_params.seed, train_params.deterministic)
    except runtime.DeviceError as error:
        raise errors.RefusedError(str(error)) from error


def feed_for(machine: runtime.Machine, training: Split) -> type[Batches]:
    """Choose where a training's images lie: in a GPU's memory, if there is one and they leave room there."""
    return IndexBatches if machine.has_gpu and training.images.nbytes <= DEVICE_BYTES else Batches


def _load_splits(normalized: Path, n_classes: int, has_validation: bool) -> tuple[Split, Split | None]:
    """Load training, and validation where there is one."""
    training = Split(*arrays.load_split(normalized, "train", n_classes))
    if not has_validation:
        return training, None
    return training, Split(*arrays.load_split(normalized, "validation", n_classes))


def write_history(rows: list[Row], path: Path) -> None:
    """Write a row per epoch as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    command_line.run(train)
