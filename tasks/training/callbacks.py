"""Callbacks of a training: epoch scores, the check for divergence, and resumption."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tasks import errors
from tasks.models.inference import logits
from tasks.training.checkpoints import TrainingState
from tasks.training.history import Row, Scores, make_row, score_logits
from tasks.training.image_splits import Split, Subset

PREDICT_BATCH = 500


class EpochScores(keras.callbacks.Callback):  # type: ignore[misc]
    """The scores of each epoch, its printed line, and divergence.

    Raises RefusedError where the loss or a weight is no longer finite. Keras' TerminateOnNaN checks the loss alone,
    which stays finite for one more epoch.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits; scored in inference mode.
    train_subset : Subset
        The training images to score.
    validation : Split or None
        Without it, its columns are left out.
    rows : list of dict
        The history; each epoch appends a row.
    n_images : int
        The number of training images.
    on_throughput : callable
        Receives the images per second of each epoch.
    """

    def __init__(
        self,
        model: keras.Model,
        train_subset: Subset,
        validation: Split | None,
        rows: list[Row],
        n_images: int,
        on_throughput: Callable[[float], None],
    ):
        super().__init__()
        self.scored_model, self.train_subset, self.validation = model, train_subset, validation
        self.rows, self.n_images, self.on_throughput = rows, n_images, on_throughput

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.started, self.first_epoch = time.perf_counter(), len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch_started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        throughput = self.n_images / (time.perf_counter() - self.epoch_started)
        weights = {weight.path: weight for weight in self.scored_model.weights}
        _check_finite(epoch, {"loss": logs["loss"], **weights})
        row = self._row(epoch)
        _check_finite(epoch, row)  # finite weights may be too large to compute with
        logs.update(row)  # early stopping reads validation_loss here
        self.rows.append(row)
        self.on_throughput(throughput)
        self._print(epoch, row, throughput)

    def _row(self, epoch: int) -> Row:
        validation = self._score(self.validation) if self.validation else None
        learning_rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        return make_row(epoch + 1, self._score(self.train_subset), validation, learning_rate)

    def _score(self, split: Split | Subset) -> Scores:
        return score_logits(logits(self.scored_model, split.images, PREDICT_BATCH), split.labels)

    def _print(self, epoch: int, row: Row, throughput: float) -> None:
        epochs, elapsed = self.params["epochs"], time.perf_counter() - self.started
        remaining = elapsed / (epoch + 1 - self.first_epoch) * (epochs - epoch - 1)
        values = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        print(f"epoch {epoch + 1}/{epochs}  {values}  {throughput:,.0f} images/s  {remaining:.0f} s left")


def _check_finite(epoch: int, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        numbers = ops.convert_to_numpy(value)
        if not np.isfinite(numbers).all():
            shown = f"{name} {numbers}" if numbers.ndim == 0 else name
            raise errors.RefusedError(
                f"epoch {epoch + 1}: loss and weights must stay finite; received {shown}; "
                "lower train.learning_rate, then run the stage again"
            )


class ResumeState(keras.callbacks.Callback):  # type: ignore[misc]
    """The state of a training: resumed at first, given after each epoch.

    A resumed training ends with the bits of an uninterrupted one. Keras' BackupAndRestore does not: it omits the seeds
    of dropout and the counters of EarlyStopping.

    The last epoch, also one that early stopping makes the last, gives no state: nothing is left to resume. The caller
    must not resume from a state of other inputs, which this callback cannot notice.

    It must come after EarlyStopping in the list of callbacks, which resets its counters when a training begins and
    updates them when an epoch ends.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits; without the images that a wrapped model holds.
    rows : list of dict
        The history up to the epoch that has ended.
    stopping : keras.callbacks.EarlyStopping
        Its counters and best weights are part of the state.
    resume_from : TrainingState or None
    on_state : callable
        Receives each state.
    """

    COUNTERS = ("wait", "best", "best_epoch")

    def __init__(
        self,
        model: keras.Model,
        rows: list[Row],
        stopping: keras.callbacks.EarlyStopping,
        resume_from: TrainingState | None,
        on_state: Callable[[TrainingState], None],
    ):
        super().__init__()
        self.saved_model, self.rows, self.stopping = model, rows, stopping
        self.resume_from, self.on_state = resume_from, on_state

    def _variables(self) -> list[keras.Variable]:
        return [*self.saved_model.variables, *self.model.optimizer.variables]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.resume_from is None:
            return
        self.model.optimizer.build(self.saved_model.trainable_variables)
        for variable, value in zip(self._variables(), self.resume_from.variables, strict=True):
            variable.assign(value)
        for name, count in self.resume_from.stopping.items():
            setattr(self.stopping, name, count)
        self.stopping.best_weights = self.resume_from.best or None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.model.stop_training or epoch + 1 == self.params["epochs"]:
            return
        best = getattr(self.stopping, "best_weights", None)
        counters = {name: getattr(self.stopping, name) for name in self.COUNTERS} if best else {}
        values = [ops.convert_to_numpy(variable) for variable in self._variables()]
        self.on_state(TrainingState(list(self.rows), values, counters, list(best or [])))
