"""Stage train: data/normalized → models/classifier.keras and reports/history.csv.

`python -m tasks.train --normalized data/normalized --backbone data/efficientnet_lite0.sha256
--model models/classifier.keras --history reports/history.csv`

A pretrained network starts from a linear probe of its frozen layers. With `model.trainable: head` that is the whole
training. With `all` every layer is then trained; logits that already fit distort the pretrained features less than
random ones (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
"""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks import errors
from tasks.data import arrays
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.device.precision import precision
from tasks.models import pretrained, saved_model
from tasks.models.network import DataSpec, build_for_saving, build_for_training
from tasks.params import PARAMS_FILE, load_block
from tasks.params.joint import check_joint_rules
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train
from tasks.pretrained.features import FEATURES_CODE
from tasks.run import command_line, provenance
from tasks.run.kept import cache_key
from tasks.run.outputs import atomic_outputs
from tasks.training.batches import Batches
from tasks.training.checkpoints import TRAINING_CODE, Checkpoints
from tasks.training.device_dataset import IndexBatches
from tasks.training.history import Row
from tasks.training.image_splits import Split, Splits
from tasks.training.loop import Progress, fit_network

DEVICE_BYTES = 4 * 2**30  # of images that fit into a GPU's memory beside a training


class Recipe(NamedTuple):
    """The blocks of params.yaml that decide a training."""

    model: Model
    regularize: Regularize
    train: Train


class Inputs(NamedTuple):
    """The inputs of a training; `files` count by their content."""

    splits: Splits
    data_spec: DataSpec
    classifier: keras.Model | None
    files: list[Path]


def train(*, normalized: Path, backbone: Path, model_path: Path, history_path: Path) -> command_line.RunInfo:
    """Train the network of params.yaml and publish it with its history.

    `backbone` names the weights that a pretrained network starts from. Nothing is published when training diverges.
    """
    recipe = Recipe(load_block("model", Model), load_block("regularize", Regularize), load_block("train", Train))
    check_joint_rules(*recipe, "validation" in arrays.splits(normalized), str(PARAMS_FILE))
    model_params, regularize, train_params = recipe
    device = runtime.prepare(
        train_params.device,
        train_params.threads,
        precision(model_params, train_params),
        train_params.seed,
        train_params.deterministic,
    )
    print(device)
    inputs = load_inputs(recipe, normalized, backbone)
    data_spec, classifier, images = inputs.data_spec, inputs.classifier, inputs.splits.train.images
    model = build_for_training(model_params, regularize, data_spec, images, device.precision, classifier)
    checkpoints = Checkpoints(cache_key(recipe, inputs.files, f"{device} {keras.backend.backend()}", TRAINING_CODE))
    throughput: list[float] = []
    rows = fit_or_resume(model, recipe, inputs, device, checkpoints, throughput)
    saved = build_for_saving(model, model_params, regularize, data_spec, classifier)
    with atomic_outputs(model_path, history_path) as (model_file, history_file):
        saved_model.save_model(saved, model_file, arrays.resize_mode(normalized))
        with history_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    checkpoints.remove()
    made_with = {**asdict(device), "backend": keras.backend.backend()}
    provenance.record(made_with)
    speed = {"images_per_second": round(float(np.median(throughput)))} if throughput else {}
    return {**made_with, "epochs": len(rows), **speed}


def load_inputs(recipe: Recipe, normalized: Path, backbone: Path) -> Inputs:
    """Load the splits, and the pretrained classifier where the network has one."""
    (mean, std), n_classes = arrays.mean_std(normalized), len(arrays.class_names(normalized))
    train = Split(*arrays.load_split(normalized, "train", n_classes))
    validation = None
    if "validation" in arrays.splits(normalized):
        validation = Split(*arrays.load_split(normalized, "validation", n_classes))
    translate, shortest = recipe.regularize.augment.translate, min(train.images.shape[1:3])
    if translate >= shortest:  # an image reflects by less than its side
        raise errors.RefusedError(
            f"regularize.augment.translate must be below {shortest}, the shorter side of the images; "
            f"received {translate}"
        )
    classifier, files = None, [arrays.description_path(normalized)]
    if recipe.model.is_pretrained:
        classifier = pretrained.load_pretrained(backbone, recipe.model.network, recipe.model.input_size)
        files.append(backbone)
    data_spec = DataSpec(train.images.shape[1:], n_classes, mean, std)
    return Inputs(Splits(train, validation), data_spec, classifier, files)


def fit_or_resume(
    model: keras.Model,
    recipe: Recipe,
    inputs: Inputs,
    device: runtime.DeviceConfig,
    checkpoints: Checkpoints,
    throughput: list[float],
) -> list[Row]:
    """Train from the newest checkpoint or the start; append to `throughput`."""
    state = checkpoints.newest()
    if state:
        print(f"resuming after epoch {len(state.rows)}, where an earlier run of the same inputs was interrupted")
    if inputs.classifier and not state:
        # It imports scikit-learn, which takes a second that other trainings do not need.
        from tasks.training.linear_probe import LinearProbe

        backbone, image_shape = inputs.files[-1], inputs.data_spec.image_shape
        settings = f"{device} {keras.backend.backend()} {recipe.model.network} {recipe.model.input_size} {image_shape}"
        probe = LinearProbe(model, cache_key((), [backbone], settings, FEATURES_CODE))
        probe.fit(inputs.splits, recipe.train, device.threads)
        if recipe.model.trainable == "head":  # which saves no state
            return [probe.score(inputs.splits, recipe.train.seed)]
    return fit_network(
        model,
        inputs.splits,
        recipe.train,
        recipe.regularize,
        feed=choose_feed(device, inputs.splits.train),
        progress=Progress(state, checkpoints.save, throughput.append),
    )


def choose_feed(device: runtime.DeviceConfig, train: Split) -> type[Batches]:
    """Feed from a GPU's memory, where the images have room."""
    return IndexBatches if device.has_gpu and train.images.nbytes <= DEVICE_BYTES else Batches


if __name__ == "__main__":
    command_line.run(train)
