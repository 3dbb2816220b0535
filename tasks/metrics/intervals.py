"""Intervals over images by the bootstrap, and over seeds and images.

All are at 95 %. Percentile intervals over images do not cover what another seed would train; `crossed_interval` does.

Scores from counts resample images within their class, so that no resample lacks a rare class (Davison and Hinkley 1997,
"Bootstrap Methods and their Application", section 3.2). A class of n images adds (n − 1) / n of its variance: intervals
are too narrow where most classes have two or three images.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from tasks.metrics.class_counts import ClassCounts
from tasks.metrics.predictions import NO_GROUPS, Groups, Labels, Probabilities, Values

RESAMPLES = 2_000
CONFIDENCE = 0.95
Interval = tuple[float, float]


class ScoreEstimate(NamedTuple):
    """A score or a difference of scores, with its interval over images."""

    value: float
    interval: Interval


def mean_interval(values: Values, groups: Groups = NO_GROUPS) -> Interval:
    """Compute the interval of a mean over images or groups.

    For two models on the same images, pass the differences.
    """
    if len(groups):
        return group_interval(float(values.mean()), (values - values.mean()) / len(values), groups)
    return _bootstrap(np.mean, values)


def group_interval(score: float, influence: Values, groups: Groups) -> Interval:
    """Compute the interval of a score over groups of images.

    Whole groups are resampled, as copies of a picture are one draw. A resample adds up the influences of its groups,
    which is exact for a mean over groups of one size.
    """
    sums: Values = np.bincount(np.unique(groups, return_inverse=True)[1], influence).astype(np.float64)
    low, high = mean_interval(len(sums) * sums)
    return score + low, score + high


def gap_interval(first: Values, second: Values) -> Interval:
    """Compute the interval of mean(first) − mean(second) over different images."""
    return _bootstrap(lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), first, second)


def crossed_interval(differences: Values, influences: Values) -> Interval:
    """Compute the interval of a mean difference over seeds and images.

    In the model d = mean + seed + image + rest, each seed's difference already varies by seed and rest. The images' own
    part moves all seeds together, and is the mean covariance of two seeds' differences over images. So nothing counts
    twice, and seeds that share no test image have no such part. A bootstrap of both (A. B. Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1, 386-411) counts the rest thrice, and is too narrow with five seeds.
    Degrees of freedom: F. E. Satterthwaite 1946, Biometrics Bulletin 2, 110-114.

    Parameters
    ----------
    differences : ndarray of shape (n_seeds,)
        Of a score of two models; two seeds or more.
    influences : ndarray of shape (n_seeds, n_images)
        Of each image on each difference, 0 where a seed does not test it; without images, an interval over seeds alone.
    """
    n, mean = len(differences), float(np.mean(differences))
    by_seed = float(np.var(differences, ddof=1)) / n
    by_image = float(np.sum(influences.sum(axis=0) ** 2) - np.sum(influences**2)) / (n * (n - 1))
    variance = by_seed + max(by_image, 0.0)
    freedom = (n - 1) * (variance / by_seed) ** 2 if by_seed else np.inf
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * variance**0.5
    return mean - half, mean + half


def percentile_interval(resampled: Values) -> Interval:
    """Take the middle 95 % of a statistic's resamples."""
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resample_counts(y_true: Labels, *models: Probabilities, seed: int = 0) -> list[ClassCounts]:
    """Resample the images of each class RESAMPLES times, and count them.

    All models are counted on the same resampled images. Images of one class with one prediction are drawn together, so
    that the time grows with the filled cells of the confusion matrix and not with the images.
    """
    rng, n_classes = np.random.default_rng(seed), max(y_prob.shape[1] for y_prob in models)
    predicted = [y_prob.argmax(axis=1) for y_prob in models]
    cells, n_alike = np.unique(np.stack([y_true, *predicted]), axis=1, return_counts=True)
    support = np.bincount(y_true, minlength=n_classes)
    hits, n_predicted = np.zeros((2, len(predicted), n_classes, RESAMPLES), np.int64)
    starts = np.searchsorted(cells[0], np.arange(n_classes + 1))  # cells are sorted by class
    for label, (start, stop) in enumerate(pairwise(starts)):
        if start == stop:
            continue
        drawn = rng.multinomial(support[label], n_alike[start:stop] / support[label], size=RESAMPLES)
        for cell, times in zip(cells[1:, start:stop].T, drawn.T, strict=True):
            for model, prediction in enumerate(cell):
                n_predicted[model, prediction] += times
                if prediction == label:
                    hits[model, prediction] += times
    return [ClassCounts(hits[model].T, n_predicted[model].T, support) for model in range(len(predicted))]


def _bootstrap(statistic: Callable[..., Any], *samples: Values) -> Interval:
    if all(len(np.unique(sample)) == 1 for sample in samples):  # a perfect model: nothing to resample
        value = float(statistic(*samples, axis=0))
        return value, value
    # SciPy resamples no single value.
    samples = tuple(np.repeat(sample, 2) if len(sample) == 1 else sample for sample in samples)
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=50,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
