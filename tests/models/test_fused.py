"""The fused layer against Keras' own: same weights, same inputs, same numbers."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.models.fused import FusedBatchNormalization

TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 2e-2}


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(1.5, 2.0, (16, 6, 6, 5)).astype("float32")


def pair(policy: str, **options: Any) -> tuple[keras.Layer, keras.Layer]:
    made = (
        keras.layers.BatchNormalization(dtype=policy, **options),
        FusedBatchNormalization(dtype=policy, **options),
    )
    rng = np.random.default_rng(1)
    for layer in made:
        layer.build((None, 6, 6, 5))
    weights = [rng.uniform(0.5, 1.5, 5).astype("float32") for _ in made[0].weights]
    for layer in made:
        layer.set_weights(weights)
    return made


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"scale": False, "momentum": 0.9}], ids=["as it is", "as in whitened_cnn"])
def test_outputs_gradients_and_statistics_are_those_of_keras(
    inputs: np.ndarray, policy: str, training: bool, options: dict[str, Any]
) -> None:
    results = []
    for layer in pair(policy, **options):
        x = tf.cast(inputs, layer.compute_dtype)
        target = tf.cast(np.random.default_rng(2).normal(size=inputs.shape), "float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.function(layer)(x, training=training)
            loss = tf.reduce_mean(tf.square(tf.cast(outputs, "float32") - target))
        assert outputs.dtype == layer.compute_dtype
        gradients = tape.gradient(loss, [x, *(variable.value for variable in layer.trainable_variables)])
        results.append([outputs, *gradients, *layer.get_weights()])
    for keras_own, fused in zip(*results, strict=True):
        ours, theirs = (np.asarray(tf.cast(value, "float32")) for value in (fused, keras_own))
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[policy], atol=TOLERANCE[policy] * np.abs(theirs).max())


def test_a_frozen_layer_keeps_its_statistics(inputs: np.ndarray) -> None:
    _, fused = pair("float32")
    fused.trainable = False
    before = fused.get_weights()
    fused(inputs, training=True)
    for old, new in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
