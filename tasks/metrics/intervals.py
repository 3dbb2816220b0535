"""Bootstrap intervals of means over images.

All are 95 % percentile intervals. They cover the choice of images, not what another seed would train.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.floating[Any]]
Interval = tuple[float, float]

RESAMPLES = 2_000
CONFIDENCE = 0.95


def mean_interval(values: Values, seed: int = 0) -> Interval:
    """Compute the interval of a mean.

    Parameters
    ----------
    values : ndarray of shape (n,)
        One for each image. For two models on the same images, pass the differences.
    seed : int
        Of the resampling.
    """
    return _bootstrap(np.mean, values, seed=seed)


def gap_interval(first: Values, second: Values, seed: int = 0) -> Interval:
    """Compute the interval of mean(first) − mean(second) over different images."""
    return _bootstrap(_gap, first, second, seed=seed)


def percentile_interval(resampled: Values) -> Interval:
    """Take the middle 95 % of a statistic's resamples."""
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _gap(first: Values, second: Values, axis: int) -> Any:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _bootstrap(statistic: Callable[..., Any], *samples: Values, seed: int) -> Interval:
    if all(len(np.unique(sample)) == 1 for sample in samples):  # a perfect model: nothing to resample
        value = float(statistic(*samples, axis=0))
        return value, value
    samples = tuple(np.repeat(one, 2) if len(one) == 1 else one for one in samples)  # SciPy resamples no single value
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=50,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
