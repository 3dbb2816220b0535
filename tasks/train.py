"""Stage train: data/normalized → models/classifier.keras and reports/history.csv.

`python -m tasks.train --normalized data/normalized --backbone data/efficientnet_lite0.sha256
--model models/classifier.keras --folds models/folds.npz --history reports/history.csv`

A pretrained network starts from a linear probe of its frozen layers. With `model.trainable: head` that is the whole
training. With `all` every layer is then trained; logits that already fit distort the pretrained features less than
random ones (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

With `normalize.folds`, a training for each fold comes first; the published network then learns from all images.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import arrays
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.models import pretrained, saved_model
from tasks.models.fold_weights import write_fold_weights
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
from tasks.training import cross_validation
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


def train(
    *, normalized: Path, backbone: Path, model_path: Path, folds_path: Path, history_path: Path
) -> command_line.RunInfo:
    """Train the network of params.yaml and publish it with its history.

    `backbone` names the weights that a pretrained network starts from. Nothing is published when training diverges.
    """
    recipe = Recipe(load_block("model", Model), load_block("regularize", Regularize), load_block("train", Train))
    plan, has_validation = arrays.folds(normalized), "validation" in arrays.splits(normalized)
    has_validation = has_validation if plan is None else bool((plan == arrays.VALIDATED).any())
    check_joint_rules(*recipe, has_validation, str(PARAMS_FILE))
    train_params = recipe.train
    device = runtime.prepare(
        train_params.device,
        train_params.threads,
        train_params.precision,
        train_params.seed,
        train_params.deterministic,
    )
    print(device)
    inputs = load_inputs(recipe, normalized, backbone)
    names = ["", *(f" fold {number}" for number in range(0 if plan is None else plan.shape[1]))]
    settings = f"{device} {keras.backend.backend()}"
    checkpoints = [Checkpoints(cache_key(recipe, inputs.files, settings + name, TRAINING_CODE)) for name in names]
    training = Training(recipe, inputs, device)
    folds: list[cross_validation.Weights] = []
    if plan is None:
        saved, rows = training.fit(inputs.splits, checkpoints[0])
    else:
        saved, rows, folds = training.fit_with_folds(plan, checkpoints)
    with atomic_outputs(model_path, folds_path, history_path) as (model_file, folds_file, history_file):
        saved_model.save_model(saved, model_file, arrays.resize_mode(normalized))
        write_fold_weights(folds_file, saved.get_weights(), folds)
        with history_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for kept in checkpoints:
        kept.remove()
    made_with = {**asdict(device), "backend": keras.backend.backend()}
    provenance.record(made_with)
    speed = {"images_per_second": round(float(np.median(training.throughput)))} if training.throughput else {}
    return {**made_with, "epochs": len(rows), **speed}


class Training:
    """The trainings of one recipe on the same inputs."""

    def __init__(self, recipe: Recipe, inputs: Inputs, device: runtime.DeviceConfig):
        self.recipe, self.inputs, self.device = recipe, inputs, device
        self.throughput: list[float] = []  # images per second of each epoch

    def fit(
        self, splits: Splits, checkpoints: Checkpoints, stop_after: int | None = None
    ) -> tuple[keras.Model, list[Row]]:
        """Build and train a network; return its savable form and its history."""
        model_params, regularize, _ = self.recipe
        data_spec, classifier, images = self.inputs.data_spec, self.inputs.classifier, splits.train.images
        model = build_for_training(model_params, regularize, data_spec, images, self.device.precision, classifier)
        rows = self._fit_or_resume(model, splits, checkpoints, stop_after)
        return build_for_saving(model, model_params, regularize, data_spec, classifier), rows

    def fit_with_folds(
        self, plan: NDArray[np.uint8], checkpoints: Sequence[Checkpoints]
    ) -> tuple[keras.Model, list[Row], list[cross_validation.Weights]]:
        """Train the folds, then the published network on all images.

        Where early stopping decides, the published network stops after the median of the folds' best epochs. The
        history is the mean of the folds'.
        """
        images, (of_all, *of_folds) = self.inputs.splits.train, checkpoints
        with_stopping = self.recipe.regularize.early_stopping.patience > 0 and self.recipe.model.trainable == "all"
        parts = cross_validation.split_folds(images, plan, with_stopping)
        folds = list(cross_validation.fit_folds(self.fit, parts, of_folds, self.recipe.train.seed))
        histories = [fold.rows for fold in folds]
        stop_after = cross_validation.choose_epochs(histories) if with_stopping else None
        print(f"all images: {len(images):,} to learn from" + (f", for {stop_after} epochs" if stop_after else ""))
        model, rows = self.fit(Splits(images, None), of_all, stop_after)
        return model, cross_validation.average_curves(histories, len(rows)), [fold.variables for fold in folds]

    def _fit_or_resume(
        self, model: keras.Model, splits: Splits, checkpoints: Checkpoints, stop_after: int | None
    ) -> list[Row]:
        """Train from the newest checkpoint or the start."""
        (model_params, regularize, train_params), device = self.recipe, self.device
        state = checkpoints.newest()
        if state:
            print(f"resuming after epoch {len(state.rows)}, where an earlier run of the same inputs was interrupted")
        if self.inputs.classifier and not state:
            # It imports scikit-learn, which takes a second that other trainings do not need.
            from tasks.training.linear_probe import LinearProbe

            backbone, size = self.inputs.files[-1], f"{model_params.input_size} {self.inputs.data_spec.image_shape}"
            settings = f"{device} {keras.backend.backend()} {model_params.network} {size}"
            probe = LinearProbe(model, cache_key((), [backbone], settings, FEATURES_CODE))
            probe.fit(splits, train_params, device.threads)
            if model_params.trainable == "head":  # which saves no state
                return [probe.score(splits, train_params.seed)]
        return fit_network(
            model,
            splits,
            train_params,
            regularize,
            feed=choose_feed(device, splits.train),
            progress=Progress(state, checkpoints.save, self.throughput.append, stop_after),
        )


def load_inputs(recipe: Recipe, normalized: Path, backbone: Path) -> Inputs:
    """Load the splits, and the pretrained classifier where the network has one."""
    (mean, std), n_classes = arrays.mean_std(normalized), len(arrays.class_names(normalized))
    train = Split(*arrays.load_split(normalized, "train", n_classes))
    validation = None
    if "validation" in arrays.splits(normalized) and arrays.folds(normalized) is None:
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


def choose_feed(device: runtime.DeviceConfig, train: Split) -> type[Batches]:
    """Feed from a GPU's memory, where the images have room."""
    return IndexBatches if device.has_gpu and train.images.nbytes <= DEVICE_BYTES else Batches


if __name__ == "__main__":
    command_line.run(train)
