"""Callbacks: scores of an epoch, divergence, and a training that is resumed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.errors import RefusedError
from tasks.training import callbacks
from tests.support.training import LEARNED, STOPPED_EARLY, TRAIN, VALIDATION, fit, whole


def test_history_is_in_inference_mode_without_penalties_or_smoothing() -> None:
    model, rows = whole(**LEARNED).model, whole(**LEARNED).rows
    logits = model.predict(VALIDATION.images, verbose=0).astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_probabilities[np.arange(100), VALIDATION.labels].mean()
    assert rows[-1]["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert rows[-1]["validation_accuracy"] == pytest.approx((logits.argmax(axis=1) == VALIDATION.labels).mean())
    gap = rows[-1]["train_accuracy"] - rows[-1]["validation_accuracy"]
    assert rows[-1]["generalization_gap"] == pytest.approx(gap, abs=1e-6)


def test_finite_weights_too_large_to_compute_with_are_refused() -> None:
    """Expect a finite loss of the first weights, and finite new ones."""
    only: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e10, "schedule": "constant", "epochs": 1}
    with pytest.raises(RefusedError, match="epoch 1: loss and weights must stay finite; received train_loss"):
        fit(batch_norm=False, batch_size=len(TRAIN), **only)


def test_without_the_check_diverged_weights_would_remain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "_check_finite", lambda *_: None)
    diverged, _ = fit(learning_rate=1e30, schedule="constant", epochs=1)
    assert not all(np.isfinite(weights).all() for weights in diverged.get_weights())


@pytest.mark.parametrize(
    ("recipe", "cut_after"),
    [
        (LEARNED, 5),
        ({"epochs": 3, "optimizer": "muon", "learning_rate": 0.05}, 2),
        (STOPPED_EARLY, 3),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(recipe: dict[str, Any], cut_after: int) -> None:
    undisturbed = whole(**recipe)
    state = undisturbed.states[cut_after - 1]
    resumed, rows_again = undisturbed.resumed(state)
    assert len(state.rows) == cut_after
    assert rows_again == undisturbed.rows
    for expected, weights in zip(undisturbed.model.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("lost", ["optimizer", "random state", "early stopping"])
def test_a_state_that_lacks_a_part_ends_elsewhere(lost: str) -> None:
    undisturbed = whole(**STOPPED_EARLY)
    state, network_variables = undisturbed.states[len(undisturbed.rows) - 2], undisturbed.model.variables
    variables = list(state.variables)
    for place, variable in enumerate(network_variables):
        if lost == "random state" and "seed" in variable.path:
            variables[place] = np.zeros_like(variables[place])
    if lost == "optimizer":
        variables[len(network_variables) :] = [np.zeros_like(value) for value in variables[len(network_variables) :]]
    stopping = {} if lost == "early stopping" else state.stopping
    resumed, rows_again = undisturbed.resumed(replace(state, variables=variables, stopping=stopping))
    pairs = zip(undisturbed.model.get_weights(), resumed.get_weights(), strict=True)
    assert not (all(np.array_equal(a, b) for a, b in pairs) and rows_again == undisturbed.rows)


def test_the_last_epoch_gives_no_state() -> None:
    assert [len(state.rows) for state in whole(**LEARNED).states] == [1, 2, 3, 4, 5]
