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
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tasks import arrays, checkpoints, pretrained, runtime, saved_model, step
from tasks.arrays import Images, Labels
from tasks.backend import keras
from tasks.core.batches import Batches, IndexBatches, Split, balanced_weights, train_eval_subset
from tasks.core.callbacks import DivergedError
from tasks.core.history import Scores, history_row, score
from tasks.core.network import build_for_saving, build_for_training
from tasks.core.probe import fit_head
from tasks.core.state import Row
from tasks.core.training import fit
from tasks.features import Features, features
from tasks.outputs import atomic_outputs
from tasks.params import PARAMS_FILE, read
from tasks.params.joint import check_joint_rules, precision
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train

DEVICE_BYTES = 4 * 2**30  # of images that a GPU's memory has room for beside a training


def train(*, normalized: Path, backbone: Path, model_path: Path, history_path: Path) -> step.RunInfo:
    """Train the network of params.yaml and publish it with its history.

    `backbone` names the weights that a pretrained network starts from; the others do not read it.

    Raises
    ------
    tasks.params.ParameterError
        If the parameters break a rule.
    tasks.step.RefusedError
        If the data or the backbone cannot be trained on, the device is missing, or training diverges.
    """
    model_params, regularize, train_params = read("model", Model), read("regularize", Regularize), read("train", Train)
    has_validation = "validation" in arrays.splits(normalized)
    check_joint_rules(regularize, train_params, has_validation, str(PARAMS_FILE))
    machine = _prepared(model_params, train_params)
    print(machine)
    (mean, std), n_classes = arrays.mean_std(normalized), len(arrays.class_names(normalized))
    training, validation = _load_splits(normalized, n_classes, has_validation)
    shortest = min(training.images.shape[1:3])
    if regularize.augment.translate >= shortest:  # the reflection of an image ends there
        raise step.RefusedError(
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
        raise step.RefusedError(str(error)) from error
    blocks, machine_settings = (model_params, regularize, train_params), f"{machine} {keras.backend.backend()}"
    saved = checkpoints.Checkpoints(checkpoints.key(blocks, inputs, machine_settings))
    if state := saved.newest():
        print(f"going on after epoch {len(state.rows)}, where an earlier run of the same inputs was cut short")
    throughput: list[float] = []
    try:
        if model_params.is_pretrained and not state:
            settings = (
                f"{machine_settings} {model_params.network} {model_params.input_size} {training.images.shape[1:]}"
            )
            features_of = _features_of(trained, checkpoints.key((), [backbone], settings))
            fitted_on = _fit_logits(trained, training, train_params, machine.threads, features_of)
        if model_params.trainable == "head":  # of which no state is ever saved
            rows = [_score_probe(trained, training, validation, train_params.seed, features_of, fitted_on)]
        else:
            rows = fit(
                trained,
                training,
                validation,
                train_params,
                regularize,
                feed=IndexBatches if machine.has_gpu and training.images.nbytes <= DEVICE_BYTES else Batches,
                resume_from=state,
                on_state=saved.save,
                on_throughput=throughput.append,
            )
    except DivergedError as error:
        raise step.RefusedError(str(error)) from error
    with atomic_outputs(model_path, history_path) as (model_file, history_file):
        saved_model.save(
            build_for_saving(trained, model_params, regularize, mean, std, classifier),
            model_file,
            arrays.fit(normalized),
        )
        write_history(rows, history_file)
    saved.remove()
    return {
        "device": machine.device,
        "threads": machine.threads,
        "precision": machine.precision,
        "backend": keras.backend.backend(),
        "epochs": len(rows),
        **({"images_per_second": round(float(np.median(throughput)))} if throughput else {}),
    }


def _features_of(model: keras.Model, key: str) -> Callable[[Images], Features]:
    """Make the function from images to what the logits of a model are computed from."""
    return partial(features, keras.Model(model.input, model.get_layer("logits").input), key=key)


def _fit_logits(
    model: keras.Model,
    training: Split,
    train_params: Train,
    threads: int,
    features_of: Callable[[Images], Features],
) -> Features:
    """Give the logits the weights of a probe, and return the features that it was fitted on."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise step.RefusedError(f"backbone in dvc.yaml must have finite weights; received others in {weight.path}")
    fitted_on = features_of(training.images)
    n_classes, started = model.output_shape[-1], time.perf_counter()
    weights = balanced_weights(training.labels, n_classes) if train_params.class_weight == "balanced" else None
    try:
        head = fit_head(fitted_on, training.labels, n_classes, train_params.seed, weights, threads)
    except ValueError as error:
        raise step.RefusedError(str(error)) from error
    model.get_layer("logits").set_weights([head.kernel, head.bias])
    print(f"probe: strength {head.strength:.2g}, fitted in {time.perf_counter() - started:.1f} s")
    return fitted_on


def _score_probe(
    model: keras.Model,
    training: Split,
    validation: Split | None,
    seed: int,
    features_of: Callable[[Images], Features],
    fitted_on: Features,
) -> Row:
    """Score the logits on the features of the images that an epoch of a training is scored on."""

    def scores(values: Features, labels: Labels) -> Scores:
        return score(keras.ops.convert_to_numpy(model.get_layer("logits")(values)), labels)

    subset = train_eval_subset(training, validation, seed)
    row = history_row(
        epoch=1,
        train=scores(fitted_on[subset.images.rows], subset.labels),
        validation=scores(features_of(validation.images), validation.labels) if validation else None,
        learning_rate=0.0,
    )
    print("epoch 1/1  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"))
    return row


def _prepared(model_params: Model, train_params: Train) -> runtime.Machine:
    device, threads, chosen = train_params.device, train_params.threads, precision(model_params, train_params)
    try:
        return runtime.prepare(device, threads, chosen, train_params.seed, train_params.deterministic)
    except runtime.DeviceError as error:
        raise step.RefusedError(str(error)) from error


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
    step.run(train)
