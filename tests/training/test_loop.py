"""The training loop learns, prints a line per epoch, and stops early."""

import pytest

from tasks.training.history import score_logits
from tests.support.training import LEARNED, STOPPED_EARLY, VALIDATION, whole


def test_training_learns_with_a_row_and_a_line_per_epoch() -> None:
    rows, printed = whole(**LEARNED).rows, whole(**LEARNED).printed
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
    assert len(printed) == 6
    assert printed[2].startswith("epoch 3/6  train_loss ")
    assert all(f"{name} " in printed[2] for name in rows[0])
    assert " images/s  " in printed[2]
    assert printed[2].endswith("s left")


def test_early_stopping_restores_the_best_weights() -> None:
    stopped = whole(**STOPPED_EARLY)
    assert len(stopped.rows) < STOPPED_EARLY["epochs"]
    best = min(stopped.rows, key=lambda row: row["validation_loss"])
    logits = stopped.model.predict_on_batch(VALIDATION.images)
    assert best is not stopped.rows[-1]
    assert score_logits(logits, VALIDATION.labels).loss == pytest.approx(best["validation_loss"], abs=1e-5)
