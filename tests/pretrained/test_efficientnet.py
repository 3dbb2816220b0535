"""EfficientNet-Lite0: the layers and weights are those that were trained on ImageNet."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax
from skimage import data

from tasks.pretrained import efficientnet
from tasks.pretrained.torch_state import read_state_dict
from tests.support import state_dicts

State = dict[str, NDArray[Any]]

# Logits of every hundredth class for the gradient below, from another implementation of these layers. Its logits on
# photographs were within 1e-5 of those of the PyTorch network that the weights were packed for
# (efficientnet-lite-pytorch 0.1.0).
RECORDED = [0.2574, -2.2019, -1.7064, 2.9106, 1.4205, -0.9610, 0.3213, -0.9885, 6.1163, 0.6587]


@pytest.fixture(scope="module")
def state() -> State:
    return read_state_dict(BytesIO(state_dicts.installed()))


def filled(state: State, input_size: int | None = None) -> keras.Model:
    model = efficientnet.build(input_size)
    efficientnet.set_weights(model, state)
    return model


@pytest.fixture(scope="module")
def at_224(state: State) -> keras.Model:
    return filled(state, 224)


def gradient(side: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:side, :side] * (256 // side)
    return np.stack([rows, columns, (rows + columns) // 2], -1).astype(np.uint8)[None]


def test_it_has_the_parameters_of_lite0(at_224: keras.Model) -> None:
    """Count a bias for four values of each of 21,008 channels."""
    assert at_224.count_params() == 4_694_024 - 3 * 21_008


def test_its_logits_are_those_that_were_recorded(state: State) -> None:
    logits = filled(state).predict_on_batch(gradient(64))[0]
    np.testing.assert_allclose(logits[::100], RECORDED, atol=1e-3)


def probabilities(model: keras.Model, photograph: str) -> NDArray[np.float32]:
    """Classify the middle of a photograph, as Lite0 was evaluated."""
    image = getattr(data, photograph)()
    height, width = image.shape[:2]
    side = min(height, width) * 7 // 8
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(image[top : top + side, left : left + side]).resize((224, 224), Image.Resampling.BICUBIC)
    result: NDArray[np.float32] = softmax(model.predict_on_batch(np.asarray(middle)[None])[0])
    return result


@pytest.mark.parametrize(
    ("photograph", "expected"),
    [
        ("coffee", {967: 0.95}),  # espresso
        ("chelsea", {282: 0.39, 285: 0.36, 281: 0.17}),  # tiger cat, Egyptian cat, tabby
    ],
)
def test_photographs_are_what_they_show(at_224: keras.Model, photograph: str, expected: dict[int, float]) -> None:
    result = probabilities(at_224, photograph)
    assert result.argmax() == next(iter(expected))
    assert {label: result[label] for label in expected} == pytest.approx(expected, abs=0.01)


def test_resizing_comes_behind_scaling_so_that_nothing_is_rounded(state: State) -> None:
    model = efficientnet.build(96)
    resized = keras.Model(model.input, model.get_layer("resizing").output).predict_on_batch(gradient(32))
    exact = keras.ops.image.resize(gradient(32).astype("float32"), (96, 96), interpolation="bilinear")
    np.testing.assert_allclose(resized * 128 + 127, exact, atol=1e-3)
    assert np.abs(exact - np.round(exact)).max() > 0.3


def without(state: State, name: str) -> State:
    return {key: array for key, array in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda state: without(state, "_bn0.running_var"), "it lacks the array bn0.running_var"),
        (lambda state: {**state, "_se.weight": np.zeros(3)}, "1 arrays that EfficientNet-Lite0 .*, such as se.weight"),
        (
            lambda state: {**state, "_fc.bias": np.zeros(10)},
            r"fc.bias must have finite values of shape \(1000,\); received \(10,\)",
        ),
        (
            lambda state: {**state, "_conv_stem.weight": np.zeros(3)},
            r"conv_stem.weight must have finite values of shape \(32, 3, 3, 3\); received \(3,\)",
        ),
        (
            lambda state: {**state, "_bn0.weight": np.full(32, np.nan)},
            r"bn0.weight must have finite values of shape \(32,\)",
        ),
    ],
)
def test_a_state_dict_of_another_network_is_refused(
    at_224: keras.Model, state: State, change: Callable[[State], State], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        efficientnet.set_weights(at_224, change(state))
