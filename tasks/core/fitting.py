"""Training: batches, loss, optimizer and schedule in, trained weights and a history out.

Everything random in a run follows from `train.seed`: initial weights and dropout through
Keras' own seed, the order of the images and their augmentation from (seed, epoch, step).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.core.augmentation import Draws, draw, fetch
from tasks.core.inference import logits
from tasks.core.network import SHAPE
from tasks.core.state import Row, State
from tasks.params.regularize import Augment, Regularize
from tasks.params.train import Train

PREDICT_BATCH = 500


class DivergedError(ArithmeticError):
    """Training met a loss or a weight that is not a finite number."""


@dataclass(frozen=True)
class Split:
    """Images of shape (n, 32, 32, 3), uint8, and their labels of shape (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)


def fit(
    network: keras.Model,
    train: Split,
    validation: Split | None,
    recipe: Train,
    regularize: Regularize,
    on_speed: Callable[[float], None] = lambda images_per_second: None,
    on_device: bool = False,
    start: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
) -> list[Row]:
    """Train a network in place.

    Parameters
    ----------
    network : keras.Model
        From pixels to logits.
    train : Split
    validation : Split or None
        Scored after each epoch, never trained on. None leaves its columns out of the history.
    on_speed : callable
        Receives the images per second of each epoch, which are no part of the history: it must
        not depend on the machine.
    on_device : bool
        Keep the training images in the device's memory and change them there: for a GPU, which
        would wait for the host otherwise. A CPU would only hold them twice.
    start : State, optional
        Go on from there, to the weights and the history of a training that was never interrupted.
    keep : callable
        Receives the state after each epoch but the last.

    Returns
    -------
    list of dict
        A row per epoch: the columns of `reports/history.csv`. Losses are mean cross-entropies in
        nats, without penalties or smoothing.

    Raises
    ------
    DivergedError
        If the loss or a weight stops being finite.
    """
    n_classes = network.output_shape[-1]
    done = len(start.rows) if start else 0
    images = None if on_device else train.images
    batches = Batches(images, train.labels, n_classes, recipe.batch_size, regularize.augment, recipe.seed, done)
    trained = resident(network, train.images) if on_device else network
    trained.compile(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=regularize.label_smoothing),
        optimizer=optimizer(recipe, regularize.weight_decay, steps=len(batches) * recipe.epochs),
        steps_per_execution=len(batches) if on_device else 1,
        jit_compile="auto",
    )
    seen = probe(train, validation, recipe.seed)
    scored = EpochScores(network, seen, validation, recipe.epochs, len(train), on_speed)
    stopping = keras.callbacks.EarlyStopping(
        monitor="validation_loss",
        mode="min",
        patience=regularize.early_stopping.patience,
        restore_best_weights=True,
    )
    if start:
        scored.rows.extend(start.rows)
    callbacks = [scored, *([stopping] if regularize.early_stopping.patience else [])]
    callbacks.append(Continuation(network, scored.rows, stopping, start, keep))
    trained.fit(  # batches are in order
        batches, epochs=recipe.epochs, initial_epoch=done, callbacks=callbacks, verbose=0, shuffle=False
    )
    return scored.rows


class Continuation(keras.callbacks.Callback):  # type: ignore[misc]
    """Starts a training from a state, and gives away its state after each epoch that has another one to follow."""

    MEMORY = ("wait", "best", "best_epoch")

    def __init__(
        self,
        network: keras.Model,
        rows: list[Row],
        stopping: keras.callbacks.EarlyStopping,
        start: State | None,
        keep: Callable[[State], None],
    ):
        super().__init__()
        self.network, self.rows, self.stopping, self.start, self.keep = network, rows, stopping, start, keep

    def _variables(self) -> list[keras.Variable]:
        return [*self.network.variables, *self.model.optimizer.variables]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.start is None:
            return
        self.model.optimizer.build(self.network.trainable_variables)
        for variable, value in zip(self._variables(), self.start.variables, strict=True):
            variable.assign(value)
        for name, remembered in self.start.stopping.items():
            setattr(self.stopping, name, remembered)
        self.stopping.best_weights = self.start.best or None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.model.stop_training or epoch + 1 == self.params["epochs"]:
            return
        best = getattr(self.stopping, "best_weights", None)
        memory = {name: getattr(self.stopping, name) for name in self.MEMORY} if best else {}
        values = [ops.convert_to_numpy(variable) for variable in self._variables()]
        self.keep(State(list(self.rows), values, memory, list(best or [])))


def probe(train: Split, validation: Split | None, seed: int) -> Split:
    """The fixed training images that each epoch is scored on: as many as validation has.

    The running average that an epoch yields has dropout and augmentation in it, and would make
    the gap to validation a fiction.
    """
    n = min(len(train), len(validation) if validation else 5_000)
    rows = np.sort(np.random.default_rng([seed, 0x9806E]).permutation(len(train))[:n])
    return Split(train.images[rows], train.labels[rows])


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled batches of an epoch with one-hot labels: augmented uint8 images, or without `images` what they are
    made of, `(order, *Draws)`.

    Keras prepares the next batches in threads while the current one trains. The order and the
    augmentation of an epoch depend on (seed, epoch, step) alone, so neither threads nor a
    resumed run can change them.
    """

    # With one, Keras leaves it to TensorFlow's autotuning, whose end makes an epoch take up to twice its time. On JAX
    # it looks at the first batches and starts over, and with more than one would then hand out stale ones.
    WORKERS = 2 if keras.backend.backend() == "tensorflow" else 1

    def __init__(
        self,
        images: NDArray[np.uint8] | None,
        labels: NDArray[np.uint8],
        n_classes: int,
        batch_size: int,
        augment: Augment,
        seed: int,
        epoch: int = 0,
    ):
        super().__init__(workers=self.WORKERS)
        self.images, self.labels = images, labels
        self.one_hot = np.eye(n_classes, dtype=np.float32)
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed
        self.mirrored = np.random.default_rng([seed, 0xF11B]).random(len(labels)) < 0.5  # in even epochs
        self._start(epoch)

    def _start(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, step: int) -> tuple[Any, NDArray[np.float32]]:
        batch = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, step])
        draws = draw(self.augment, rng, self.mirrored[batch] ^ bool(self.epoch % 2), SHAPE[0])
        inputs = (batch.astype(np.int32), *draws) if self.images is None else fetch(self.images, batch, draws)
        return inputs, self.one_hot[self.labels[batch]]

    def on_epoch_end(self) -> None:
        self._start(self.epoch + 1)


class Resident(keras.layers.Layer):  # type: ignore[misc]
    """All training images as a weight, so that they lie on the device: from a batch's numbers and draws to pixels."""

    def __init__(self, images: NDArray[np.uint8]):
        super().__init__(dtype="uint8", trainable=False)
        self.images = self.add_weight(shape=images.shape, dtype="uint8", initializer="zeros", trainable=False)
        self.images.assign(images)

    def call(self, batch: Any, *draws: Any) -> Any:
        return fetch(self.images, batch, Draws(*draws), ops)


class Behind(keras.Model):  # type: ignore[misc]
    """A network behind its training images, whose weights are the network's alone: early stopping keeps copies."""

    def __init__(self, inputs: Any, outputs: Any, network: keras.Model):
        super().__init__(inputs, outputs)
        self.network = network

    def get_weights(self) -> list[NDArray[Any]]:
        weights: list[NDArray[Any]] = self.network.get_weights()
        return weights

    def set_weights(self, weights: list[NDArray[Any]]) -> None:
        self.network.set_weights(weights)


def resident(network: keras.Model, images: NDArray[np.uint8]) -> keras.Model:
    """The network behind its training images: shares its weights, and takes what `Batches` gives without images."""
    numbers = keras.Input((), dtype="int32")
    draws = [keras.Input((SHAPE[0],), dtype=dtype) for dtype in ("int32", "int32", "bool", "bool")]
    return Behind((numbers, *draws), network(Resident(images)(numbers, *draws)), network)


class EpochScores(keras.callbacks.Callback):  # type: ignore[misc]
    """Scores each finished epoch, refuses one that diverged, and prints a line."""

    def __init__(
        self,
        network: keras.Model,
        train: Split,
        validation: Split | None,
        epochs: int,
        n_images: int,
        on_speed: Callable[[float], None],
    ):
        super().__init__()
        self.network, self.train, self.validation = network, train, validation
        self.epochs, self.n_images, self.on_speed = epochs, n_images, on_speed
        self.rows: list[Row] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.started, self.first = time.perf_counter(), len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch_started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        images_per_second = self.n_images / (time.perf_counter() - self.epoch_started)
        _refuse_divergence(epoch, {"loss": logs["loss"], **{weight.path: weight for weight in self.network.weights}})
        row: Row = {"epoch": epoch + 1}
        row["train_loss"], row["train_accuracy"] = self._score(self.train)
        if self.validation:
            row["validation_loss"], row["validation_accuracy"] = self._score(self.validation)
            row["generalization_gap"] = row["train_accuracy"] - row["validation_accuracy"]
        row["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {name: value if name == "epoch" else round(value, 6) for name, value in row.items()}
        _refuse_divergence(epoch, row)  # finite weights may still be too large to compute with
        logs.update(row)  # early stopping reads validation_loss here
        self.rows.append(row)
        elapsed = time.perf_counter() - self.started
        remaining = elapsed / (epoch + 1 - self.first) * (self.epochs - epoch - 1)
        values = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        self.on_speed(images_per_second)
        print(f"epoch {epoch + 1}/{self.epochs}  {values}  {images_per_second:,.0f} images/s  {remaining:.0f} s left")

    def _score(self, split: Split) -> tuple[float, float]:
        found = logits(self.network, split.images, PREDICT_BATCH)
        losses = keras.losses.sparse_categorical_crossentropy(split.labels, found, from_logits=True)
        return float(ops.mean(losses)), float(np.mean(found.argmax(axis=1) == split.labels))


def _refuse_divergence(epoch: int, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        numbers = ops.convert_to_numpy(value)
        if not np.isfinite(numbers).all():
            shown = f"{name} {numbers}" if numbers.ndim == 0 else name
            raise DivergedError(
                f"epoch {epoch + 1}: loss and weights must stay finite; received {shown}; "
                "lower train.learning_rate, then run the stage again"
            )


def optimizer(recipe: Train, weight_decay: float, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer; decoupled weight decay leaves biases and normalization alone.

    See Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.
    """
    rate = learning_rate(recipe, steps)
    decay = weight_decay or None
    made: keras.optimizers.Optimizer
    if recipe.optimizer == "sgd":
        made = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        made = keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    else:
        made = keras.optimizers.Adam(rate)
    if decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def learning_rate(recipe: Train, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The schedule over all `steps` updates; `warmup` is the share of them that rises to the peak."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup_steps = round(recipe.warmup * steps)
    if recipe.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            recipe.learning_rate if not warmup_steps else 0.0,
            decay_steps=max(steps - warmup_steps, 1),
            warmup_target=recipe.learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    return OneCycle(recipe.learning_rate, steps, warmup_steps)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Straight up to the peak, then straight down to zero (Smith 2018, https://arxiv.org/abs/1803.09820)."""

    def __init__(self, peak: float, steps: int, warmup_steps: int):
        self.peak, self.steps, self.warmup_steps = peak, steps, warmup_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = (step + 1) / max(self.warmup_steps, 1)
        fall = (self.steps - step) / max(self.steps - self.warmup_steps, 1)
        return self.peak * ops.clip(ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps}
