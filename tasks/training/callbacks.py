"""Callbacks of a training: epoch scores, the check for divergence, and resumption."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks import errors
from tasks.models.inference import Images, logits
from tasks.training.checkpoints import TrainingState
from tasks.training.history import Row, make_row, score_logits
from tasks.training.image_splits import ImageRows, Splits, train_eval_rows

PREDICT_BATCH = 500


class EpochScores(keras.callbacks.Callback):  # type: ignore[misc]
    """The scores of each epoch in inference mode, its line, and divergence.

    Appends to `rows`, and gives `on_throughput` the images per second. Raises RefusedError where the loss or a weight
    is no longer finite: Keras' TerminateOnNaN checks the loss alone, which stays finite for one more epoch.
    """

    def __init__(
        self, model: keras.Model, splits: Splits, seed: int, rows: list[Row], on_throughput: Callable[[float], None]
    ):
        super().__init__()
        self.scored_model, self.rows, self.on_throughput = model, rows, on_throughput
        self.n_images, chosen = len(splits.train), train_eval_rows(splits, seed)
        self.scored: list[tuple[Images, NDArray[np.int32]]]
        self.scored = [(ImageRows(splits.train.images, chosen), splits.train.labels[chosen])]
        if splits.validation:
            self.scored.append((splits.validation.images, splits.validation.labels))

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.started, self.first_epoch = time.perf_counter(), len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch_started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        throughput = self.n_images / (time.perf_counter() - self.epoch_started)
        weights = {weight.path: weight for weight in self.scored_model.weights}
        _check_finite(epoch, {"loss": logs["loss"], **weights})
        scores = [
            score_logits(logits(self.scored_model, images, PREDICT_BATCH), labels) for images, labels in self.scored
        ]
        learning_rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = make_row(epoch + 1, scores, learning_rate)
        _check_finite(epoch, row)  # finite weights may be too large to compute with
        logs.update(row)  # early stopping reads validation_loss here
        self.rows.append(row)
        self.on_throughput(throughput)
        self._print(epoch, row, throughput)

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
    """The state of a training, resumed at first and given after epochs.

    A resumed training ends with the bits of an uninterrupted one; Keras' BackupAndRestore omits the seeds of dropout
    and the counters of EarlyStopping. EarlyStopping must come first in the list: it resets its counters when a training
    begins. `model` is the one without the images. The last epoch gives no state. The caller must not resume from a
    state of other inputs, which this callback cannot notice.
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
