"""What a technique does, over seeds: means, paired differences from a baseline, and how sure they are.

SciPy does the arithmetic. A seed is the unit: split and order of images are the same for every variant, so
differences are taken seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MIN_PAIRS = 3  # with fewer, a difference is never called real


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its 95 % interval by Student's t; without an interval where n is 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean(values: Sequence[float]) -> Estimate:
    """The mean over seeds."""
    found = np.asarray(values, float)
    centre = float(found.mean())
    if len(found) < 2:
        return Estimate(centre, None, None, len(found))
    error = float(stats.sem(found))
    if error == 0.0:  # SciPy's interval would be NaN
        return Estimate(centre, centre, centre, len(found))
    low, high = stats.t.interval(CONFIDENCE, len(found) - 1, centre, error)
    return Estimate(centre, float(low), float(high), len(found))


def paired_p_value(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """The two-sided p-value of a paired t-test; None where it tells nothing: below MIN_PAIRS, or without spread."""
    differences = np.asarray(values, float) - np.asarray(baseline, float)
    if len(differences) < MIN_PAIRS or np.ptp(differences) < 1e-12:
        return None
    return float(stats.ttest_rel(values, baseline).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are.

    After S. Holm, "A simple sequentially rejective multiple test procedure" (1979). Rejecting what stays below
    0.05 keeps the chance of even one false finding below 5 %, whatever the tests' dependence: here they share a
    baseline.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]
