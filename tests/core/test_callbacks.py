"""Callbacks: scores of an epoch, divergence, and a training that is resumed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.core import callbacks
from tasks.core.state import TrainingState
from tests.support.training import AUGMENT, TRAIN, VALIDATION, fit


def test_history_is_in_inference_mode_without_penalties_or_smoothing() -> None:
    model, rows = fit()
    logits = model.predict(VALIDATION.images, verbose=0).astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_probabilities[np.arange(100), VALIDATION.labels].mean()
    assert rows[-1]["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert rows[-1]["validation_accuracy"] == pytest.approx((logits.argmax(axis=1) == VALIDATION.labels).mean())
    gap = rows[-1]["train_accuracy"] - rows[-1]["validation_accuracy"]
    assert rows[-1]["generalization_gap"] == pytest.approx(gap, abs=1e-6)


def test_without_validation_its_columns_are_absent() -> None:
    _, rows = fit(validation=None)
    assert list(rows[0]) == ["epoch", "train_loss", "train_accuracy", "learning_rate"]


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 1e9), ("adamw", 1e30)])
def test_divergence_is_named_and_ends_the_training(optimizer: str, rate: float) -> None:
    with pytest.raises(callbacks.DivergedError, match="epoch 1: loss and weights must stay finite; received"):
        fit(optimizer=optimizer, learning_rate=rate, schedule="constant", epochs=1)


def test_finite_weights_too_large_to_compute_with_are_refused() -> None:
    """After a single update the loss was that of the first weights, and the new ones, of 1e10, are finite."""
    only: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e10, "schedule": "constant", "epochs": 1}
    with pytest.raises(
        callbacks.DivergedError, match="epoch 1: loss and weights must stay finite; received train_loss"
    ):
        fit(batch_norm=False, batch_size=len(TRAIN), **only)


def test_without_the_check_diverged_weights_would_remain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "_refuse_divergence", lambda *_: None)
    diverged, _ = fit(learning_rate=1e30, schedule="constant", epochs=1)
    assert not all(np.isfinite(weights).all() for weights in diverged.get_weights())


class Cut(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.mark.parametrize(
    ("recipe", "cut_after"),
    [
        ({"epochs": 4}, 3),
        ({"epochs": 4, "optimizer": "sgd", "learning_rate": 0.05, "schedule": "cosine"}, 1),
        ({"epochs": 9, "patience": 2, "learning_rate": 0.05, "schedule": "constant"}, 3),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(recipe: dict[str, Any], cut_after: int) -> None:
    whole, rows = fit(augment=AUGMENT, **recipe)
    states: list[TrainingState] = []

    def cut(state: TrainingState) -> None:
        states.append(state)
        if len(states) == cut_after:
            raise Cut

    with pytest.raises(Cut):
        fit(augment=AUGMENT, on_state=cut, **recipe)
    resumed, rows_again = fit(augment=AUGMENT, resume_from=states[-1], **recipe)
    assert len(states[-1].rows) == cut_after
    assert rows_again == rows
    for expected, weights in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("lost", ["optimizer", "random state", "early stopping"])
def test_a_state_that_lacks_a_part_ends_elsewhere(lost: str) -> None:
    recipe: dict[str, Any] = {"epochs": 9, "patience": 2, "learning_rate": 0.05, "schedule": "constant"}
    states: list[TrainingState] = []
    whole, rows = fit(augment=AUGMENT, on_state=states.append, **recipe)
    state, network_variables = states[len(rows) - 2], whole.variables
    variables = list(state.variables)
    for place, variable in enumerate(network_variables):
        if lost == "random state" and "seed" in variable.path:
            variables[place] = np.zeros_like(variables[place])
    if lost == "optimizer":
        variables[len(network_variables) :] = [np.zeros_like(value) for value in variables[len(network_variables) :]]
    stopping = {} if lost == "early stopping" else state.stopping
    resumed, rows_again = fit(
        augment=AUGMENT, resume_from=replace(state, variables=variables, stopping=stopping), **recipe
    )
    same = all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True))
    assert not (same and rows_again == rows)


def test_the_last_epoch_gives_no_state() -> None:
    states: list[TrainingState] = []
    fit(epochs=3, on_state=states.append)
    assert [len(state.rows) for state in states] == [1, 2]
