"""Training: a model and two splits in, trained weights and a history out.

Everything random in a run follows from `train.seed`: initial weights and dropout through Keras' own seed, the order
of the images and their augmentation from (seed, epoch, step).
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from tasks.params.regularize import Regularize
from tasks.params.train import Train
from tasks.training.batches import Batches, Split, balanced_weights, train_eval_subset
from tasks.training.callbacks import EpochScores, ResumeState
from tasks.training.optimizers import optimizer
from tasks.training.state import Row, TrainingState


def fit(
    model: keras.Model,
    train: Split,
    validation: Split | None,
    train_params: Train,
    regularize: Regularize,
    *,
    feed: type[Batches] = Batches,
    resume_from: TrainingState | None = None,
    on_state: Callable[[TrainingState], None] = lambda state: None,
    on_throughput: Callable[[float], None] = lambda images_per_second: None,
) -> list[Row]:
    """Train a model in place.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits.
    train : Split
    validation : Split or None
        Scored after each epoch, never trained on. None leaves its columns out of the history.
    train_params : Train
    regularize : Regularize
    feed : type
        `Batches` changes the images in the host's memory, `IndexBatches` in the device's, for a GPU that would wait for
        the host otherwise.
    resume_from : TrainingState, optional
        Continue from this state. Weights and history end as those of a training that was never interrupted.
    on_state : callable
        Receives the state after each epoch but the last.
    on_throughput : callable
        Receives the images per second of each epoch. The history must not depend on the machine, so they are no part
        of it.

    Returns
    -------
    list of dict
        A row per epoch: the columns of `reports/history.csv`. Losses are mean cross-entropies in nats, without
        penalties or smoothing.

    Raises
    ------
    tasks.training.callbacks.DivergedError
        If the loss or a weight stops being finite.
    """
    rows = list(resume_from.rows) if resume_from else []
    epochs_done = len(rows)
    seed, patience = train_params.seed, regularize.early_stopping.patience
    n_classes = model.output_shape[-1]
    weights = balanced_weights(train.labels, n_classes) if train_params.class_weight == "balanced" else None
    batches = feed(train, n_classes, train_params.batch_size, regularize.augment, seed, epochs_done, weights)
    wrapped = batches.wrap(model)
    wrapped.compile(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=regularize.label_smoothing),
        optimizer=optimizer(train_params, regularize.weight_decay, steps=len(batches) * train_params.epochs),
        steps_per_execution=batches.steps_per_execution,
        jit_compile="auto",
    )
    subset = train_eval_subset(train, validation, seed)
    scores = EpochScores(model, subset, validation, rows, len(train), on_throughput)
    stopping = keras.callbacks.EarlyStopping(
        monitor="validation_loss", mode="min", patience=patience, restore_best_weights=True
    )
    resume = ResumeState(model, rows, stopping, resume_from, on_state)
    wrapped.fit(
        batches,
        epochs=train_params.epochs,
        initial_epoch=epochs_done,
        callbacks=[scores, stopping, resume] if patience else [scores, resume],
        verbose=0,
        shuffle=False,  # the batches are in order
    )
    return rows
