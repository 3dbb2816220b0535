"""A row of `reports/history.csv`, and its scores."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Row = dict[str, float]


class Scores(NamedTuple):
    """The mean cross-entropy in nats, without penalties or smoothing, and the accuracy."""

    loss: float
    accuracy: float


def score_logits(y_score: NDArray[np.float32], labels: NDArray[np.int32]) -> Scores:
    """Score logits of shape (n, n_classes)."""
    losses: Any = keras.losses.sparse_categorical_crossentropy(labels, y_score, from_logits=True)
    return Scores(float(ops.mean(losses)), float(np.mean(y_score.argmax(axis=1) == labels)))


def make_row(epoch: int, train: Scores, validation: Scores | None, learning_rate: float) -> Row:
    """Make the row of an epoch, counted from 1."""
    row: Row = {"train_loss": train.loss, "train_accuracy": train.accuracy}
    if validation:
        row["validation_loss"], row["validation_accuracy"] = validation
        row["generalization_gap"] = train.accuracy - validation.accuracy
    row["learning_rate"] = learning_rate
    return {"epoch": epoch, **{name: round(value, 6) for name, value in row.items()}}
