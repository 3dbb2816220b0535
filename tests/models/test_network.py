"""The networks: layers, regularizers, first weights, and the model that is saved."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from tasks.errors import RefusedError
from tasks.models import network
from tests.support.parameters import NOTEBOOK
from tests.support.training import model_params, regularize

DATA_SPEC = network.DataSpec((32, 32, 3), 10, [0.0] * 3, [255.0] * 3)


def build(changes: dict[str, Any] | None = None, **regularizers: Any) -> keras.Model:
    return network.build(model_params(**(changes or {})), regularize(**regularizers), DATA_SPEC)


def layers(built: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in built.layers]


def test_notebook_cnn_is_the_notebooks_layer_for_layer() -> None:
    built = build(l2=0.01, dropout=0.5)
    assert built.count_params() == 619_146
    block = ["Conv2D", "FusedBatchNormalization", "ReLU"]
    expected = ["InputLayer", "Normalization", *block, "MaxPooling2D", *block, "MaxPooling2D", *block]
    assert layers(built) == [*expected, "Flatten", "Dense", "Dropout", "Dense"]
    penalized = [layer.name for layer in built.layers if getattr(layer, "kernel_regularizer", None)]
    assert penalized == ["conv1", "conv2", "conv3", "dense"]
    assert all(float(built.get_layer(name).kernel_regularizer.l2) == pytest.approx(0.01) for name in penalized)
    assert built.get_layer("dropout").rate == 0.5
    pooled = build({"pool_before_norm": True})
    assert pooled.count_params() == 619_146
    assert layers(pooled)[2:6] == ["Conv2D", "MaxPooling2D", "FusedBatchNormalization", "ReLU"]


@pytest.mark.parametrize(("activation", "below_zero"), [("relu", 0.0), ("gelu", -0.0455)])
def test_every_activation_of_whitened_cnn_is_the_chosen_one(activation: str, below_zero: float) -> None:
    built = build({"network": "whitened_cnn", "activation": activation})
    chosen = [layer for layer in built.layers if layer.name.startswith("activation")]
    assert len(chosen) == 1 + 2 * len(NOTEBOOK["filters"])
    assert all(np.allclose(layer(np.asarray([-2, 9], np.float32)), [below_zero, 9.0], atol=1e-4) for layer in chosen)


@pytest.mark.parametrize("without", [{"l2": 0.0}, {"dropout": 0.0}, {"batch_norm": False}])
def test_a_regularizer_that_is_off_leaves_no_trace(without: dict[str, Any]) -> None:
    built = build(**{"l2": 0.01, "dropout": 0.5, **without})
    assert ("Dropout" in layers(built)) == (without != {"dropout": 0.0})
    assert ("FusedBatchNormalization" in layers(built)) == (without != {"batch_norm": False})
    assert bool(built.losses) == (without != {"l2": 0.0})


def test_capacity_follows_filters_and_dense_units() -> None:
    small = build({"filters": (8, 16), "dense_units": 4}, batch_norm=False)
    assert small.count_params() == (27 + 1) * 8 + (72 + 1) * 16 + (16 * 16 * 16 + 1) * 4 + (4 + 1) * 10


def test_normalization_comes_first_and_takes_raw_pixels() -> None:
    built = network.build(
        model_params(), regularize(), replace(DATA_SPEC, mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0])
    )
    pixels = np.full((1, 32, 32, 3), [12, 28, 25], np.uint8)
    scaled = keras.Model(built.input, built.get_layer("normalization").output)(pixels)
    np.testing.assert_allclose(scaled[0, 0, 0], [1.0, 2.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["notebook_cnn", "whitened_cnn"])
def test_the_model_to_save_gives_the_same_logits(name: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    fused = build({"network": name})
    fused.set_weights([rng.uniform(0.1, 0.3, w.shape).astype("float32") for w in fused.get_weights()])
    standard = network.build_for_saving(fused, model_params(network=name), regularize(), DATA_SPEC)
    assert {type(layer).__module__.split(".")[0] for layer in standard.layers} == {"keras"}
    np.testing.assert_allclose(fused(images), standard(images), rtol=1e-4)


WHITENED: dict[str, Any] = {"network": "whitened_cnn", "filters": (8, 16)}


def test_whitened_cnn_is_double_convolutions_behind_a_frozen_layer() -> None:
    built = build(WHITENED, dropout=0.1, l2=0.01)
    conv = ["FastConv2D", "FusedBatchNormalization", "FastActivation"]
    block = ["FastConv2D", "MaxPooling2D", "FusedBatchNormalization", "FastActivation", *conv]
    start = ["InputLayer", "Normalization", "Conv2D", "FastActivation"]
    assert layers(built) == [*start, *block, *block, "GlobalMaxPooling2D", "Dropout", "Rescaling", "Dense"]
    assert not built.get_layer("whitening").trainable
    assert built.get_layer("whitening").kernel.shape == (2, 2, 3, 24)
    assert len(built.losses) == 4


def test_whitened_cnn_starts_by_decorrelating_and_passing_inputs_on() -> None:
    built = build(WHITENED)
    drawn = built.get_layer("conv2a").get_weights()[0]
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    network.initialize_whitened_cnn(built, images, DATA_SPEC)
    outputs = keras.Model(built.input, built.get_layer("whitening").output)(images).numpy().reshape(-1, 24)[:, :12]
    np.testing.assert_allclose(outputs.T @ outputs / len(outputs), np.eye(12), atol=0.01)
    inputs = np.random.default_rng(0).random((2, 15, 15, 8), np.float32)
    layer = built.get_layer("conv2a")
    np.testing.assert_array_equal(layer(inputs)[..., :8], inputs)
    np.testing.assert_array_equal(layer.get_weights()[0][..., 8:], drawn[..., 8:])


def test_each_network_starts_with_first_weights_of_its_own() -> None:
    """Compare with random ones: `whitened_cnn` depends on training images too."""
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for changes, same in ((NOTEBOOK, True), (WHITENED, False)):
        keras.utils.set_random_seed(0)
        random = build(changes)
        keras.utils.set_random_seed(0)
        started = network.build_for_training(model_params(**changes), regularize(), DATA_SPEC, images, "float32")
        assert all(map(np.array_equal, random.get_weights(), started.get_weights())) == same


@pytest.mark.parametrize("name", ["notebook_cnn", "whitened_cnn"])
def test_networks_take_rectangles_and_refuse_what_they_cannot_halve(name: str) -> None:
    params = model_params(network=name, filters=(4, 8, 8, 8))
    images = np.random.default_rng(0).integers(0, 256, (20, 96, 64, 3), dtype=np.uint8)
    data_spec = network.DataSpec((96, 64, 3), 7, [128.0] * 3, [60.0] * 3)
    built = network.build_for_training(params, regularize(), data_spec, images, "float32")
    saved = network.build_for_saving(built, params, regularize(), data_spec)
    logits = built.predict(images, verbose=0)
    assert logits.shape == (20, 7)
    np.testing.assert_allclose(saved.predict(images, verbose=0), logits, atol=1e-4)
    with pytest.raises(RefusedError, match=r"model.filters must be fewer, or normalize.size larger"):
        network.build(params, regularize(), replace(data_spec, image_shape=(7, 90, 3)))
