"""Optimizers and schedules."""

import keras
import numpy as np
import pytest

from tasks.training.optimizers import make_optimizer, make_schedule, orthogonalize
from tests.support.training import train_params


def rates(schedule: str, warmup: float = 0.25, steps: int = 100) -> list[float]:
    made = make_schedule(train_params(schedule=schedule, warmup=warmup), steps)
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
    made = make_optimizer(recipe, weight_decay=0.5, steps=10)
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("kernel", "bias", "gamma", "beta")]
    made.build(variables)
    made.apply([keras.ops.zeros(3)] * 4, variables)
    values = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
    assert values == pytest.approx([0.95, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
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
        model.compile(make_optimizer(recipe, 0.5, steps=10), "mse")
        model.train_on_batch(np.ones((8, 4)), np.ones((8, 2)))
        moved[factor] = [after - first for after, first in zip(model.get_weights(), before, strict=True)]
    for n, factor in enumerate((0.1, 0.1, 1.0, 1.0)):
        np.testing.assert_allclose(moved[0.1][n], factor * moved[1.0][n], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (3, 3, 2, 64), (1, 1, 5, 5)])
def test_orthogonalized_kernels_keep_directions_at_equal_lengths(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype("float32")
    matrix = kernel.reshape(-1, shape[-1])
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    turned = np.linalg.multi_dot([left.T, orthogonalize(kernel).numpy().reshape(matrix.shape), right.T])
    assert values.max() / values.min() > 1.5
    np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-4)
    assert (np.diag(turned) > 0.4).all()
    assert (np.diag(turned) < 1.3).all()


def updated(gradients: list[float], kernel: float, momentum: float = 0.0) -> list[np.ndarray]:
    """Update a kernel and a bias by multiples of a gradient."""
    recipe = train_params(optimizer="muon", schedule="constant", learning_rate=0.05, adam_rate=2.0, momentum=momentum)
    made = make_optimizer(recipe, weight_decay=0.0, steps=10)
    first = np.random.default_rng(1).normal(size=(3, 3, 4, 2)).astype("float32")
    variables = [keras.Variable(kernel * first, name="kernel"), keras.Variable(np.zeros(2, "float32"), name="bias")]
    made.build(variables)
    for scale in gradients:
        change = np.random.default_rng(2).normal(size=first.shape).astype("float32")
        made.apply([keras.ops.convert_to_tensor(scale * change), scale * keras.ops.ones(2)], variables)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def test_muon_moves_by_one_length_whatever_the_gradient() -> None:
    """Kernels by their singular values, and what Adam moves, value by value."""
    kernel, bias = updated([1.0], 1.0)
    larger, other_bias = updated([100.0], 7.0)
    np.testing.assert_allclose(kernel, larger, rtol=1e-4)
    np.testing.assert_allclose([*bias, *other_bias], [-0.1] * 4, rtol=1e-5)
    first = np.random.default_rng(1).normal(size=kernel.shape)
    moved = kernel - first * 2**0.5 / np.linalg.norm(first)
    np.testing.assert_allclose(np.linalg.svd(moved.reshape(-1, 2))[1], [0.05, 0.05], rtol=0.3)


def test_muon_remembers_earlier_gradients() -> None:
    """Without momentum the second gradient would turn it back."""
    steps = {}
    for momentum in (0.0, 0.9):
        one, two = updated([1.0], 1.0, momentum)[0], updated([1.0, -0.1], 1.0, momentum)[0]
        steps[momentum] = np.vdot(two - one, one - updated([], 1.0)[0])
    assert steps[0.0] < 0 < steps[0.9]
