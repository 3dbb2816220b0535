"""A planted leak inflates the score by a known amount."""

import numpy as np
import pytest

from tasks.metrics.predictions import Predicted
from tasks.reporting.evaluation import Leak
from tasks.reporting.results import measure_leakage

# Of 1,000 test images of two classes the first 200 leak and are all right; of the others three in four are.
LABELS = np.arange(1000) % 2
RIGHT = (np.arange(1000) < 200) | (np.arange(1000) % 8 < 6)
TEST = Predicted(LABELS, np.eye(2)[np.where(RIGHT, LABELS, 1 - LABELS)])
LEAKS = [Leak("test", row, row, "equal pixels") for row in range(200)]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_leaks_inflate_the_score_by_what_the_leaking_images_add(name: str) -> None:
    leakage = measure_leakage(name, TEST, LEAKS)
    assert leakage
    assert leakage.inflation
    assert leakage.counts == {"validation": 0, "test": 200}
    assert leakage.score == pytest.approx(0.8, abs=0.01)
    assert leakage.score_excluding == pytest.approx(0.75, abs=0.01)
    assert leakage.inflation.value == pytest.approx(leakage.score - (leakage.score_excluding or 0), abs=1e-12)
    error = 0.2 * 1.96 * np.sqrt(0.75 * 0.25 / 800)  # the leaking images are all right in every resample
    low, high = leakage.inflation.interval
    assert (high - low) / 2 == pytest.approx(error, rel=0.15)
    assert low < leakage.inflation.value < high


def test_an_image_with_several_leaks_counts_once() -> None:
    leakage = measure_leakage("accuracy", TEST, [*LEAKS, *LEAKS, Leak("validation", 3, 7, "equal pixels")])
    assert leakage
    assert leakage.counts == {"validation": 1, "test": 200}


def test_without_other_test_images_nothing_is_compared() -> None:
    everywhere = [Leak("test", row, row, "equal pixels") for row in range(1000)]
    only_validation = [Leak("validation", 0, 0, "equal pixels")]
    for leaks in (everywhere, only_validation):
        leakage = measure_leakage("accuracy", TEST, leaks)
        assert leakage
        assert (leakage.score_excluding, leakage.inflation) == (None, None)
    assert measure_leakage("accuracy", TEST, []) is None
