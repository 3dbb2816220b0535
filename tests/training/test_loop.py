"""Training as a whole: it learns, from the seed alone, and stops early."""

import keras
import pytest

from tests.support.training import VALIDATION, fit


def test_training_learns_with_a_history_row_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    _, rows = fit(epochs=6)
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
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("epoch 3/6  train_loss ")
    assert all(f"{name} " in lines[2] for name in rows[0])
    assert lines[2].endswith("s left")
    assert "images/s" in lines[2]


def test_the_seed_decides_the_weights() -> None:
    (first, _), (again, _), (other, _) = fit(epochs=1), fit(epochs=1), fit(epochs=1, seed=1)
    assert [w.tobytes() for w in first.get_weights()] == [w.tobytes() for w in again.get_weights()]
    assert first.get_weights()[0].tobytes() != other.get_weights()[0].tobytes()


def test_early_stopping_restores_the_best_weights() -> None:
    model, rows = fit(epochs=40, patience=1, learning_rate=0.05, schedule="constant")
    assert len(rows) < 40
    best = min(rows, key=lambda row: row["validation_loss"])
    logits = model.predict(VALIDATION.images, verbose=0)
    loss = float(
        keras.ops.mean(keras.losses.sparse_categorical_crossentropy(VALIDATION.labels, logits, from_logits=True))
    )
    assert loss == pytest.approx(best["validation_loss"], abs=1e-5)
