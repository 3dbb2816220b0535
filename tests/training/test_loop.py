"""The training loop learns, prints a line per epoch, and stops early."""

import keras
import pytest

from tests.support.training import LEARNED, STOPPED_EARLY, VALIDATION, whole


def test_training_learns_with_a_history_row_per_epoch() -> None:
    rows = whole(**LEARNED).rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "generalization_gap",
        "learning_rate",
    ]
    assert rows[-1]["validation_accuracy"] > 0.9
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"] / 2


def test_each_epoch_prints_a_line_with_every_column() -> None:
    learned = whole(**LEARNED)
    assert len(learned.printed) == LEARNED["epochs"]
    line = learned.printed[2]
    assert line.startswith("epoch 3/6  train_loss ")
    assert all(f"{name} " in line for name in learned.rows[0])
    assert "images/s" in line
    assert line.endswith("s left")


def test_early_stopping_restores_the_best_weights() -> None:
    stopped = whole(**STOPPED_EARLY)
    assert len(stopped.rows) < STOPPED_EARLY["epochs"]
    best = min(stopped.rows, key=lambda row: row["validation_loss"])
    logits = stopped.model.predict_on_batch(VALIDATION.images)
    loss = float(
        keras.ops.mean(keras.losses.sparse_categorical_crossentropy(VALIDATION.labels, logits, from_logits=True))
    )
    assert best is not stopped.rows[-1]
    assert loss == pytest.approx(best["validation_loss"], abs=1e-5)
