"""The sentences of the report."""

from typing import Any

import pytest

from tasks.reporting.sentences import describe_curves, describe_doubts, describe_temperature
from tests.support.reports import history


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (history(4, best=2), "lowest in epoch 2, at 1.0000, and ended at 1.2000."),
        (history(4), "Validation loss is lowest at the end"),
        (history(2, validation=False), "2 epochs without a validation split"),
    ],
)
def test_the_sentence_on_curves_describes_them(rows: list[dict[str, Any]], words: str) -> None:
    assert words in describe_curves(rows)


@pytest.mark.parametrize(
    ("temperature", "words"), [(1.5, "overconfident"), (0.5, "underconfident"), (1.0, "left as"), (None, "Without a")]
)
def test_the_temperature_tells_how_confident_the_model_is(temperature: float | None, words: str) -> None:
    assert words in describe_temperature(temperature)


@pytest.mark.parametrize(
    ("score", "baseline", "warns"), [(0.449, 0.252, True), (0.85, 0.1, False), (0.62, 0.1, False), (0.93, 0.9, True)]
)
def test_the_doubts_of_a_weak_model_carry_a_warning(score: float, baseline: float, warns: bool) -> None:
    warning = describe_doubts(score, baseline)
    assert (warning is not None) == warns
    assert f"only {100 * score:.1f}\xa0% on test" in (warning or f"only {100 * score:.1f}\xa0% on test")
