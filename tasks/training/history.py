"""A row of `reports/history.csv`, and its scores."""

from collections.abc import Sequence
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


def make_row(epoch: int, scores: Sequence[Scores], learning_rate: float) -> Row:
    """Make an epoch's row from the scores of train, and of validation."""
    row: Row = {}
    for split, values in zip(("train", "validation"), scores, strict=False):
        row[f"{split}_loss"], row[f"{split}_accuracy"] = values
    if len(scores) == 2:
        row["generalization_gap"] = row["train_accuracy"] - row["validation_accuracy"]
    row["learning_rate"] = learning_rate
    return {"epoch": epoch, **{name: round(value, 6) for name, value in row.items()}}
