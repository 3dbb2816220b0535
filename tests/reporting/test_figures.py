"""The figures: words, units, edges, and always the same text."""

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from tasks.metrics.calibration import ReliabilityBins
from tasks.reporting import drawing, figures
from tests.support.reports import history

HISTORY = history(4)


def texts(svg: str) -> list[str]:
    """List the words of a figure, in order."""
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def draw(name: str) -> str:
    rng = np.random.default_rng(0)
    bins = ReliabilityBins(rng.integers(0, 9, 15), rng.random(15), rng.random(15))
    drawn: dict[str, Any] = {
        "curves": lambda: figures.learning_curves(HISTORY, best_epoch=3),
        "confusion": lambda: figures.confusion_matrix(rng.integers(0, 100, (4, 4)), list("abcd")),
        "reliability": lambda: figures.reliability({"as trained": bins}),
    }
    return str(drawn[name]())


@pytest.mark.parametrize("name", ["curves", "confusion", "reliability"])
def test_the_same_arrays_give_the_same_svg(name: str) -> None:
    first = draw(name)
    assert first == draw(name)
    assert drawing.INK in first
    assert drawing.PAPER in first


def test_curves_name_their_axes_with_units_the_splits_and_the_epoch_that_was_kept() -> None:
    words = texts(figures.learning_curves(HISTORY))
    assert {"epoch", "cross-entropy (nats)", "accuracy", "learning rate", "train", "validation", "gap"} <= set(words)
    assert "kept by early stopping" not in words
    assert "kept by early stopping" in texts(figures.learning_curves(HISTORY, best_epoch=2))
    assert not {"validation", "gap"} & set(texts(figures.learning_curves(history(1, validation=False))))


def test_a_confusion_matrix_shows_counts_shares_and_class_names() -> None:
    words = texts(figures.confusion_matrix(np.array([[30, 10], [0, 5]]), ["<b>", "$dog$"]))
    assert {"<b>", "$dog$", "30", "75%", "10", "25%", "5", "100%", "0"} <= set(words)
    assert {"true class", "predicted class", "share of the true class"} <= set(words)


def test_of_many_classes_the_most_confused_are_drawn_as_colours_without_numbers() -> None:
    counts = np.eye(100, dtype=int) * 7
    counts[98, 99] = 1
    words = texts(figures.confusion_matrix(counts, [f"class {n}" for n in range(99)] + ["c" * 40]))
    assert {"class 98", "c" * 12 + "…" + "c" * 11, "class 27"} <= set(words)
    assert not {"class 28", "7"} & set(words)


def test_a_long_name_keeps_both_ends() -> None:
    assert drawing.elide("x" * 24) == "x" * 24
    assert drawing.elide("a" * 20 + "b" * 20) == "a" * 12 + "…" + "b" * 11
