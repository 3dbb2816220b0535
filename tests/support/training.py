"""A small training, on bright lines that a network learns in seconds."""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.models import saved_model
from tasks.models.network import KERAS_OWN, DataSpec, build
from tasks.params.model import Model
from tasks.params.regularize import Augment, Regularize
from tasks.params.train import Train
from tasks.training.batches import Batches
from tasks.training.checkpoints import TrainingState
from tasks.training.history import Row
from tasks.training.image_splits import Split, Splits
from tasks.training.loop import Progress, fit_network
from tests.support.parameters import NOTEBOOK, OFF, PLAIN

EASY_AUGMENT = {**PLAIN, "cutout": 6, "brightness": 0.2}  # the network learns in spite of it
EVERY_AUGMENT: dict[str, Any] = {
    "flip": "alternating",
    "translate": 3,
    "zoom": 0.5,
    "cutout": 9,
    "brightness": 0.2,
    "contrast": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
}
RECIPE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "backbone_rate": 1.0,
    "adam_rate": 1.0,
    "momentum": 0.9,
    "schedule": "one_cycle",
    "warmup": 0.25,
    "class_weight": "none",
    "seed": 0,
    "deterministic": True,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}


def split(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.int32)
    images = rng.integers(0, 30, (n, 32, 32, 3), dtype=np.uint8)
    images[np.arange(n), :, labels * 3, :] = 255  # a class is the column of a bright line
    return Split(images, labels)


TRAIN, VALIDATION = split(300, 1), split(100, 2)


def batches(
    augment: dict[str, Any],
    seed: int = 0,
    epoch: int = 0,
    class_weights: NDArray[np.float32] | None = None,
    feed: type[Batches] = Batches,
) -> Batches:
    return feed(TRAIN, 10, Augment(**{**PLAIN, **augment}), train_params(seed=seed), epoch, class_weights)


def model_params(**changes: Any) -> Model:
    return Model(**{**NOTEBOOK, **changes})


def regularize(**changes: Any) -> Regularize:
    return Regularize(**{**OFF, **changes})


def train_params(**changes: Any) -> Train:
    return Train(**{**RECIPE, **changes})


def fit(
    patience: int = 0,
    augment: dict[str, Any] = PLAIN,
    batch_norm: bool = True,
    feed: type[Batches] = Batches,
    resume_from: TrainingState | None = None,
    on_state: Callable[[TrainingState], None] = lambda state: None,
    **recipe: Any,
) -> tuple[keras.Model, list[Row]]:
    """Train a small model, with the recipe changed by keyword."""
    keras.utils.set_random_seed(0)
    regularizers = regularize(
        l2=0.001,
        dropout=0.1,
        batch_norm=batch_norm,
        label_smoothing=0.1,
        augment=augment,
        early_stopping={"patience": patience},
    )
    network = model_params(filters=(4, 8), dense_units=16, pool_before_norm=True)
    model = build(network, regularizers, DataSpec((32, 32, 3), 10, [20.0] * 3, [60.0] * 3))
    progress = Progress(resume_from, on_state)
    rows = fit_network(model, Splits(TRAIN, VALIDATION), train_params(**recipe), regularizers, feed, progress)
    return model, rows


@dataclass(frozen=True)
class Whole:
    """An uninterrupted training, and the states after its epochs."""

    model: keras.Model
    rows: list[Row]
    states: list[TrainingState]
    printed: list[str]
    recipe: dict[str, Any]

    def resumed(self, state: TrainingState) -> tuple[keras.Model, list[Row]]:
        """Train the rest from a state."""
        return fit(augment=EASY_AUGMENT, resume_from=state, **self.recipe)


@cache
def whole(**recipe: Any) -> Whole:
    """Train with augmentation, once for all tests of a process."""
    states: list[TrainingState] = []
    with redirect_stdout(StringIO()) as printed:
        model, rows = fit(augment=EASY_AUGMENT, on_state=states.append, **recipe)
    return Whole(model, rows, states, printed.getvalue().splitlines(), recipe)


def save_earlier(path: Path, data_spec: DataSpec, **changes: Any) -> None:
    """Save a model with random weights, as an earlier run left it."""
    keras.utils.set_random_seed(3)
    made = build(model_params(**changes), regularize(dropout=0.5), data_spec, layer_types=KERAS_OWN)
    saved_model.save_model(made, path, "crop")


LEARNED: dict[str, Any] = {"epochs": 6}
STOPPED_EARLY: dict[str, Any] = {"epochs": 9, "patience": 2, "learning_rate": 0.05, "schedule": "constant"}
