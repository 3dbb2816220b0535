"""Statistics over seeds: means with intervals, corrected tests, and their power.

A seed gives every variant the same split and the same order of images, so differences are taken seed by seed.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, stats

MIN_PAIRS = 3  # with fewer, no difference is called real
REAL = 0.05  # a corrected p-value below is called real
POWER = 0.8  # share of studies that find an effect which a study "could have seen"
MOST_SEEDS = 10_000  # that are looked for


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


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Compute the p-value of a paired t-test, or None if undefined."""
    return None if _deviation(differences) is None else float(stats.ttest_1samp(differences, 0.0).pvalue)


def _deviation(differences: Sequence[float]) -> float | None:
    """Return the standard deviation, or None where no test is defined."""
    if len(differences) < MIN_PAIRS or np.ptp(differences) < 1e-12:
        return None
    return float(np.std(differences, ddof=1))


def could_have_seen(differences: Sequence[float], level: float) -> float | None:
    """Compute the effect that such a study finds with 80 % power.

    The test is a two-sided paired t-test at `level`; None where it is undefined.
    """
    deviation, n = _deviation(differences), len(differences)
    return None if deviation is None else deviation / math.sqrt(n) * _ratio_found(n, level)


@cache
def _ratio_found(n: int, level: float) -> float:
    """Solve for the ratio of effect to standard error that is found."""
    highest = 20 * stats.t.isf(level / 2, n - 1)
    return float(optimize.brentq(lambda ratio: _power(ratio, n, level, n - 1) - POWER, 0, highest))


def seeds_needed(differences: Sequence[float], effect: float, level: float) -> int | None:
    """Search how many seeds find an effect with 80 % power.

    The standard deviation is that of the differences so far. None where it is undefined; MOST_SEEDS + 1 for any more.
    """
    deviation, freedom = _deviation(differences), len(differences) - 1
    if deviation is None:
        return None
    numbers = range(MOST_SEEDS + 1)
    return bisect_left(
        numbers, POWER, lo=MIN_PAIRS, key=lambda n: _power(effect / deviation * math.sqrt(n), n, level, freedom)
    )


def _power(ratio: float, n: int, level: float, freedom: int) -> float:
    """Compute the power of a two-sided t-test of `n` differences.

    It is the upper tail, above the critical value, of the noncentral t distribution with n − 1 degrees of freedom and
    noncentrality effect · √n / σ (J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2).
    Only an estimate s of σ is known: `ratio` is effect · √n / s. So power is averaged over s / σ, whose square is χ² /
    `freedom` (S. A. Julious and R. J. Owen, "Sample size calculations for clinical studies allowing for uncertainty
    about the variance", 2006). Without this, five seeds would find in 68 % of studies what they claim to find in 80 %.
    """
    squares = stats.chi2.ppf((np.arange(200) + 0.5) / 200, freedom) / freedom
    return float(np.mean(stats.nct.sf(stats.t.isf(level / 2, n - 1), n - 1, ratio * np.sqrt(squares))))


def excluded(differences: Sequence[float]) -> float | None:
    """Compute the size above which effects are excluded with 95 % confidence.

    Two one-sided t-tests reject an effect of at least x, and of at most −x, where x > |mean| + t(0.975, n − 1) · s / √n
    (D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", 1987). Each is at 2.5 %, not at Schuirmann's 5 %: real differences are
    skewed, and 7 % of his bounds failed (docs/study.md). None where s is undefined.
    """
    deviation, n = _deviation(differences), len(differences)
    if deviation is None:
        return None
    return float(abs(np.mean(differences)) + stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n))


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


def show_bound(bound: float | None) -> str:
    """Write a bound as the ends of intervals are written: `1.3`."""
    return "" if bound is None else f"{bound:.1f}"


def show(estimate: Estimate | None, sign: str = "", unit: str = "") -> str:
    """Write a mean with its interval: `−6.1 points [−6.8, −5.4]`."""
    if estimate is None:
        return ""
    numbers = [round(value, 1) for value in (estimate.mean, estimate.low, estimate.high) if value is not None]
    mean, *ends = (f"{number:{sign}.1f}".replace("-", "−") if number else "0.0" for number in numbers)
    return f"{mean}{unit} [{', '.join(ends)}]" if ends else f"{mean}{unit}"
