"""What a planted leak is worth."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.metrics.primary import Predicted
from tasks.reporting import leaks
from tasks.reporting.leaks import Twin

# Of 1,000 test images of two classes the first 200 leak and are all right; of the others three in four are.
LABELS = np.arange(1000) % 2
RIGHT = (np.arange(1000) < 200) | (np.arange(1000) % 8 < 6)
TEST = Predicted(LABELS, np.eye(2)[np.where(RIGHT, LABELS, 1 - LABELS)])
TWINS = [Twin("test", row, row, "equal pixels") for row in range(200)]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_a_leak_is_worth_what_the_leaking_images_add(name: str) -> None:
    found = leaks.measure(name, TEST, TWINS)
    assert found
    assert found.worth
    assert found.counts == {"validation": 0, "test": 200}
    assert found.on_all == pytest.approx(0.8, abs=0.01)
    assert found.on_others == pytest.approx(0.75, abs=0.01)
    assert found.worth.value == pytest.approx(found.on_all - (found.on_others or 0), abs=1e-12)
    error = 0.2 * 1.96 * np.sqrt(0.75 * 0.25 / 800)  # the leaking images are all right in every resample
    low, high = found.worth.interval
    assert (high - low) / 2 == pytest.approx(error, rel=0.15)
    assert low < found.worth.value < high


def test_an_image_with_several_twins_counts_once() -> None:
    found = leaks.measure("accuracy", TEST, [*TWINS, *TWINS, Twin("validation", 3, 7, "equal pixels")])
    assert found
    assert found.counts == {"validation": 1, "test": 200}


def test_without_other_test_images_nothing_is_compared() -> None:
    everywhere = [Twin("test", row, row, "equal pixels") for row in range(1000)]
    only_validation = [Twin("validation", 0, 0, "equal pixels")]
    for twins in (everywhere, only_validation):
        found = leaks.measure("accuracy", TEST, twins)
        assert found
        assert (found.on_others, found.worth) == (None, None)
    assert leaks.measure("accuracy", TEST, []) is None
