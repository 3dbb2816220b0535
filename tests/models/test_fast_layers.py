"""The fast layers give the numbers of Keras' own."""

from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.models import fast_layers
from tasks.models.fast_layers import FastActivation, FastConv2D, FusedBatchNormalization

TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 2e-2}
FAST_SHAPE, CHANNELS, FILTERS = (8, 7, 5), 64, 128
OPTIONS: dict[str, Any] = {"filters": FILTERS, "kernel_size": 3, "padding": "same", "use_bias": False}


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*FAST_SHAPE, CHANNELS)).astype("float32")


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the types that took the fast form."""
    taken: list[str] = []
    sliced = fast_layers.convolve_with_sliced_gradient

    def noted(images: Any, kernel: Any) -> Any:
        taken.append(keras.backend.standardize_dtype(images.dtype))
        return sliced(images, kernel)

    monkeypatch.setattr(fast_layers, "convolve_with_sliced_gradient", noted)
    return taken


def with_weights(layer: keras.Layer, low: float, high: float) -> keras.Layer:
    layer.build((None, *FAST_SHAPE[1:], CHANNELS))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(low, high, weight.shape).astype("float32") for weight in layer.weights])
    return layer


def numbers(layer: keras.Layer, inputs: np.ndarray, **how: bool) -> list[np.ndarray]:
    """Compute outputs, gradients of inputs and weights, and the weights afterwards."""
    x = tf.cast(inputs, layer.compute_dtype)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, **how)
        upstream = tf.cast(np.random.default_rng(2).normal(size=outputs.shape), outputs.dtype)
        sources = [x, *(variable.value for variable in layer.trainable_variables)]
        return [outputs, *tape.gradient(outputs, sources, upstream)]

    computed = step()
    assert computed[0].dtype == layer.compute_dtype
    return [tf.cast(value, "float32").numpy() for value in (*computed, *layer.get_weights())]


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("policy", TOLERANCE)
def test_convolutions_are_those_of_keras_and_repeat_to_the_bit(
    inputs: np.ndarray, policy: str, forms: list[str]
) -> None:
    theirs, ours, again = (
        numbers(with_weights(kind(**OPTIONS, dtype=policy), -0.07, 0.07), inputs)
        for kind in (keras.layers.Conv2D, FastConv2D, FastConv2D)
    )
    assert_same(ours, theirs, TOLERANCE[policy])
    assert_same(again, ours, 0)
    assert forms == (["bfloat16"] * 2 if policy == "mixed_bfloat16" else [])


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"scale": False, "momentum": 0.9}], ids=["as it is", "as in whitened_cnn"])
def test_normalizations_are_those_of_keras(
    inputs: np.ndarray, policy: str, training: bool, options: dict[str, Any]
) -> None:
    theirs, ours = (
        numbers(with_weights(kind(**options, dtype=policy), 0.5, 1.5), 1.5 + 2 * inputs, training=training)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    )
    assert_same(ours, theirs, TOLERANCE[policy])


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("name", ["gelu", "relu"])
def test_activations_are_those_of_keras_and_repeat_to_the_bit(
    inputs: np.ndarray, policy: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = Mock(wraps=fast_layers.compiled_gelu)
    monkeypatch.setattr(fast_layers, "compiled_gelu", compiled)
    theirs, ours, again = (
        numbers(kind(name, dtype=policy), 3 * inputs)
        for kind in (keras.layers.Activation, FastActivation, FastActivation)
    )
    assert_same(ours, theirs, TOLERANCE[policy])
    assert_same(again, ours, 0)
    assert compiled.called == (name == "gelu")


def test_a_frozen_normalization_keeps_its_statistics(inputs: np.ndarray) -> None:
    fused = with_weights(FusedBatchNormalization(trainable=False), 0.5, 1.5)
    before = fused.get_weights()
    fused(inputs, training=True)
    assert_same(fused.get_weights(), before, 0)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"use_bias": True}, (7, 7, CHANNELS)),
        ({"strides": 2}, (7, 7, CHANNELS)),
        ({"padding": "valid"}, (7, 7, CHANNELS)),
        ({"kernel_size": 2}, (7, 7, CHANNELS)),
        ({"groups": 2}, (7, 7, 2 * CHANNELS)),
        ({"filters": FILTERS - 1}, (7, 7, CHANNELS)),
        ({}, (7, 9, CHANNELS)),
        ({}, (None, None, CHANNELS)),
    ],
    ids=["bias", "strides", "valid", "kernel", "groups", "few filters", "large", "unknown size"],
)
def test_what_is_not_faster_stays_keras(change: dict[str, Any], shape: tuple[int, ...], forms: list[str]) -> None:
    FastConv2D(**{**OPTIONS, **change})(keras.Input(shape))
    assert not forms


def test_any_number_of_images_trains(forms: list[str]) -> None:
    images, rng = keras.Input((*FAST_SHAPE[1:], CHANNELS)), np.random.default_rng(0)
    outputs = keras.layers.GlobalAveragePooling2D()(FastConv2D(**OPTIONS, dtype="mixed_bfloat16")(images))
    trained = keras.Model(images, outputs)
    trained.compile("sgd", "mse")
    for n in (3, 5):
        before = trained.get_weights()
        trained.train_on_batch(rng.normal(size=(n, *FAST_SHAPE[1:], CHANNELS)), rng.normal(size=(n, FILTERS)))
        assert not np.array_equal(trained.get_weights(), before)
    assert set(forms) == {"bfloat16"}
