"""Statistics over seeds: means with intervals, and tests of differences, corrected.

A seed gives every variant the same split and the same order of images, so differences are taken seed by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MIN_PAIRS = 3  # with fewer, no difference is called real
REAL = 0.05  # a corrected p-value below is called real


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, with its 95 % interval."""

    mean: float
    low: float | None  # None of one seed
    high: float | None
    n: int


def mean(values: Sequence[float], lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
    """Estimate the mean over seeds, with its interval by Student's t.

    The interval ends where values do.
    """
    n, centre = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(centre, None, None, n)
    error = float(stats.sem(values))
    if error == 0.0:  # SciPy's interval would be NaN
        return Estimate(centre, centre, centre, n)
    low, high = stats.t.interval(0.95, n - 1, centre, error)
    return Estimate(centre, max(float(low), lowest), min(float(high), highest), n)


def paired_p_value(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Compute the p-value of a paired t-test, or None if undefined."""
    differences = np.asarray(values, float) - np.asarray(baseline, float)
    if len(differences) < MIN_PAIRS or np.ptp(differences) < 1e-12:
        return None
    return float(stats.ttest_rel(values, baseline).pvalue)


def factor_p_value(values: Sequence[float], factor: Sequence[str], others: Sequence[Sequence[str]]) -> float | None:
    """Compute the p-value of a factor beside other factors.

    The F-test of two nested linear models (J. Fox, "Applied Regression Analysis", section 8.2): does the factor explain
    more of the values than chance, once the others are accounted for? None where the test is undefined: no degrees of
    freedom are left, the other factors determine this one, or nothing is left to explain.
    """
    without = np.column_stack([np.ones(len(values)), *map(_indicators, others)])
    whole = np.column_stack([without, _indicators(factor)])
    (rest_without, rank_without), (rest, rank) = (_unexplained(model, values) for model in (without, whole))
    free = len(values) - rank
    if free < 1 or rank == rank_without or rest_without < 1e-12:
        return None
    if rest < 1e-12 * rest_without:
        return 0.0
    f = (rest_without - rest) / (rank - rank_without) / (rest / free)
    return float(stats.f.sf(f, rank - rank_without, free))


def _indicators(factor: Sequence[str]) -> np.ndarray:
    columns: np.ndarray = np.equal.outer(factor, np.unique(factor))
    return columns


def _unexplained(model: np.ndarray, values: Sequence[float]) -> tuple[float, int]:
    """Fit a linear model; return its residual sum of squares and rank."""
    target = np.asarray(values, float)
    coefficients, _, rank, _ = np.linalg.lstsq(model, target, rcond=None)
    return float(np.sum((target - model @ coefficients) ** 2)), int(rank)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's method.

    S. Holm, "A simple sequentially rejective multiple test procedure" (1979). Calling real only what stays below 0.05
    keeps the chance of even one false finding below 5 %, also for tests that share a baseline, as these do.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(adjusted, 1.0)
    return corrected.tolist()  # type: ignore[no-any-return]


def show(estimate: Estimate | None, sign: str = "", unit: str = "") -> str:
    """Write a mean with its interval: `−6.1 points [−6.8, −5.4]`."""
    if estimate is None:
        return ""
    numbers = [round(value, 1) for value in (estimate.mean, estimate.low, estimate.high) if value is not None]
    mean, *ends = (f"{number:{sign}.1f}".replace("-", "−") if number else "0.0" for number in numbers)
    return f"{mean}{unit} [{', '.join(ends)}]" if ends else f"{mean}{unit}"
