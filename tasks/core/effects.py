"""Statistics over seeds: means with intervals, and paired tests, corrected.

SciPy does the arithmetic. A seed gives every variant the same split and the same order of images, so differences are
taken seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MIN_PAIRS = 3  # with fewer, no difference is called real
REAL = 0.05  # a corrected p-value below is called real


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, with its 95 % interval where n > 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean over seeds, with its interval by Student's t."""
    n, centre = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(centre, None, None, n)
    error = float(stats.sem(values))
    if error == 0.0:  # SciPy's interval would be NaN
        return Estimate(centre, centre, centre, n)
    low, high = stats.t.interval(CONFIDENCE, n - 1, centre, error)
    return Estimate(centre, float(low), float(high), n)


def paired_p_value(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Compute the two-sided p-value of a paired t-test.

    Returns
    -------
    float or None
        None where the test tells nothing: below MIN_PAIRS, or where all differences are equal.
    """
    differences = np.asarray(values, float) - np.asarray(baseline, float)
    if len(differences) < MIN_PAIRS or np.ptp(differences) < 1e-12:
        return None
    return float(stats.ttest_rel(values, baseline).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's method.

    After S. Holm, "A simple sequentially rejective multiple test procedure" (1979). Calling real only what stays
    below 0.05 keeps the chance of even one false finding below 5 %. That holds for dependent tests, as these are:
    they share a baseline.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(adjusted, 1.0)
    return [float(value) for value in corrected]


def show(estimate: Estimate | None, sign: str = "", unit: str = "") -> str:
    """Write a mean with its interval: `−6.1 points [−6.8, −5.4]`."""
    if estimate is None:
        return ""
    numbers = [round(value, 1) for value in (estimate.mean, estimate.low, estimate.high) if value is not None]
    mean, *ends = (f"{number:{sign}.1f}".replace("-", "−") if number else "0.0" for number in numbers)
    return f"{mean}{unit} [{', '.join(ends)}]" if ends else f"{mean}{unit}"
