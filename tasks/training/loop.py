"""The training loop: from a model and splits to weights and history.

All randomness of a run follows from `train.seed`: initial weights and dropout through Keras' own seed, the order of the
images and their augmentation from (seed, epoch, step).
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from tasks.params.regularize import Regularize
from tasks.params.train import Train
from tasks.training.batches import Batches
from tasks.training.callbacks import EpochScores, ResumeState
from tasks.training.checkpoints import TrainingState
from tasks.training.history import Row
from tasks.training.image_splits import Splits, class_weights
from tasks.training.optimizers import make_optimizer


@dataclass(frozen=True)
class Progress:
    """Start and end of a training, and receivers of its states.

    The images per second depend on the machine, so they are no part of the history.
    """

    resume_from: TrainingState | None = None
    on_state: Callable[[TrainingState], None] = lambda state: None
    on_throughput: Callable[[float], None] = lambda images_per_second: None
    stop_after: int | None = None  # epochs, with the learning rates of all


def fit_network(
    model: keras.Model,
    splits: Splits,
    train_params: Train,
    regularize: Regularize,
    feed: type[Batches] = Batches,
    progress: Progress = Progress(),
) -> list[Row]:
    """Train a model in place, and return a row per epoch.

    `Batches` augment the images in the host's memory, `IndexBatches` in the device's.
    """
    rows = list(progress.resume_from.rows) if progress.resume_from else []
    epochs_done, patience = len(rows), 0 if progress.stop_after else regularize.early_stopping.patience
    n_classes = model.output_shape[-1]
    weights = class_weights(splits.train.labels, n_classes, train_params)
    batches = feed(splits.train, n_classes, regularize.augment, train_params, epochs_done, weights)
    wrapped = batches.wrap(model)
    wrapped.compile(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=regularize.label_smoothing),
        optimizer=make_optimizer(train_params, regularize.weight_decay, steps=len(batches) * train_params.epochs),
        steps_per_execution=batches.steps_per_execution,
        jit_compile="auto",
    )
    scores = EpochScores(model, splits, train_params.seed, rows, progress.on_throughput)
    stopping = keras.callbacks.EarlyStopping(
        monitor="validation_loss", mode="min", patience=patience, restore_best_weights=True
    )
    resume = ResumeState(model, rows, stopping, progress.resume_from, progress.on_state)
    wrapped.fit(
        batches,
        epochs=progress.stop_after or train_params.epochs,
        initial_epoch=epochs_done,
        callbacks=[scores, stopping, resume] if patience else [scores, resume],
        verbose=0,
        shuffle=False,  # `Batches` shuffles
    )
    return rows
