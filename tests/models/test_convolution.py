"""The fast convolution gives the numbers of Keras' own layer."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.models import convolution
from tasks.models.convolution import FastConv2D

TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 1e-2}
FAST_SHAPE, CHANNELS, FILTERS = (8, 7, 5), 64, 128
OPTIONS: dict[str, Any] = {"filters": FILTERS, "kernel_size": 3, "padding": "same", "use_bias": False}


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*FAST_SHAPE, CHANNELS)).astype("float32")


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the types that took the fast form."""
    taken: list[str] = []

    sliced = convolution.convolve_with_sliced_gradient

    def noted(images: Any, kernel: Any) -> Any:
        taken.append(keras.backend.standardize_dtype(images.dtype))
        return sliced(images, kernel)

    monkeypatch.setattr(convolution, "convolve_with_sliced_gradient", noted)
    return taken


def layer(kind: type[keras.layers.Conv2D], policy: str) -> keras.layers.Conv2D:
    made = kind(**OPTIONS, dtype=policy)
    made.build((None, *FAST_SHAPE[1:], CHANNELS))
    rng = np.random.default_rng(1)
    made.set_weights([rng.normal(size=weight.shape).astype("float32") / 24 for weight in made.weights])
    return made


def outputs_and_gradients(made: keras.layers.Conv2D, inputs: np.ndarray) -> list[np.ndarray]:
    x = tf.cast(inputs, made.compute_dtype)
    upstream = tf.cast(np.random.default_rng(2).normal(size=(*FAST_SHAPE, FILTERS)), made.compute_dtype)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = made(x)
        sources = [x, *(variable.value for variable in made.trainable_variables)]
        return [outputs, *tape.gradient(outputs, sources, upstream)]

    computed = step()
    assert computed[0].dtype == made.compute_dtype
    return [tf.cast(value, "float32").numpy() for value in computed]


@pytest.mark.parametrize("policy", TOLERANCE)
def test_outputs_and_gradients_are_those_of_keras(inputs: np.ndarray, policy: str, forms: list[str]) -> None:
    kinds = keras.layers.Conv2D, FastConv2D
    for theirs, ours in zip(*(outputs_and_gradients(layer(kind, policy), inputs) for kind in kinds), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE[policy] * np.abs(theirs).max())
    assert forms == (["bfloat16"] if policy == "mixed_bfloat16" else [])


@pytest.mark.parametrize("policy", TOLERANCE)
def test_the_same_step_gives_the_same_bits(inputs: np.ndarray, policy: str) -> None:
    first, second = (outputs_and_gradients(layer(FastConv2D, policy), inputs) for _ in range(2))
    for once, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(once, again)


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


def test_any_number_of_images_trains_and_the_weights_load_in_keras_own(tmp_path: Path, forms: list[str]) -> None:
    def model(kind: type[keras.layers.Conv2D]) -> keras.Model:
        images, pool = keras.Input((*FAST_SHAPE[1:], CHANNELS)), keras.layers.GlobalAveragePooling2D()
        return keras.Model(images, pool(kind(**OPTIONS, dtype="mixed_bfloat16")(images)))

    trained, rng = model(FastConv2D), np.random.default_rng(0)
    trained.compile("sgd", "mse")
    for n in (3, 5):
        trained.train_on_batch(rng.normal(size=(n, *FAST_SHAPE[1:], CHANNELS)), rng.normal(size=(n, FILTERS)))
    assert set(forms) == {"bfloat16"}
    standard = model(keras.layers.Conv2D)
    standard.set_weights(trained.get_weights())
    standard.save(tmp_path / "model.keras")
    images = rng.normal(size=(2, *FAST_SHAPE[1:], CHANNELS)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images), trained.predict(images), atol=1e-2)
