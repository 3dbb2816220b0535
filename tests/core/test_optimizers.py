"""Optimizers and schedules."""

import keras
import numpy as np
import pytest

from tasks.core.optimizers import learning_rate, optimizer
from tests.support.training import train_params


def rates(schedule: str, warmup: float = 0.25, steps: int = 100) -> list[float]:
    made = learning_rate(train_params(schedule=schedule, warmup=warmup), steps)
    if isinstance(made, float):
        return [made] * steps
    return [float(keras.ops.convert_to_numpy(made(step))) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_schedules_rise_to_the_peak_and_end_near_zero(schedule: str) -> None:
    values = rates(schedule)
    peak = int(np.argmax(values))
    assert max(values) == pytest.approx(0.01, rel=0.05)
    assert 22 <= peak <= 26
    assert (np.diff(values[:peak]) > 0).all()
    assert (np.diff(values[peak + 1 :]) < 0).all()
    assert 0 <= values[-1] < 0.0002
    assert rates(schedule, warmup=0)[0] == pytest.approx(0.01)


def test_a_constant_schedule_ignores_the_warmup() -> None:
    assert set(rates("constant")) == {0.01}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_normalization(name: str) -> None:
    recipe = train_params(optimizer=name, schedule="constant", learning_rate=0.1)
    made = optimizer(recipe, weight_decay=0.5, steps=10)
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("kernel", "bias", "gamma", "beta")]
    made.build(variables)
    made.apply([keras.ops.zeros(3)] * 4, variables)
    values = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
    assert values == pytest.approx([0.95, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_a_lower_rate_of_the_backbone_spares_the_logits(name: str) -> None:
    """Weight decay included, and in a graph as in training."""
    moved = {}
    for factor in (1.0, 0.1):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2, name="logits")]
        )
        before = model.get_weights()
        recipe = train_params(optimizer=name, schedule="constant", learning_rate=0.01, backbone_rate=factor)
        model.compile(optimizer(recipe, 0.0 if name == "adam" else 0.5, steps=10), "mse")
        model.train_on_batch(np.ones((8, 4)), np.ones((8, 2)))
        moved[factor] = [after - first for after, first in zip(model.get_weights(), before, strict=True)]
    for n, factor in enumerate((0.1, 0.1, 1.0, 1.0)):
        np.testing.assert_allclose(moved[0.1][n], factor * moved[1.0][n], rtol=1e-2, atol=1e-6)
