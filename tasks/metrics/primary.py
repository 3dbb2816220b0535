"""The headline: the one score by which a model is judged, with intervals for it and for its differences.

It is one of `scores.OF_COUNTS`. Accuracy is a mean over images, and its intervals resample these; those of the others
resample images within their class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.metrics import class_counts, intervals, scores
from tasks.metrics.class_counts import ClassCounts
from tasks.metrics.intervals import Interval
from tasks.metrics.per_sample import Labels, Probabilities, Values


class Estimate(NamedTuple):
    """A value and its interval over images."""

    value: float
    interval: Interval


class Predicted(NamedTuple):
    """The labels of images and a model's probabilities for them."""

    y_true: Labels  # of shape (n,)
    y_prob: Probabilities  # of shape (n, n_classes)


def estimate(name: str, predicted: Predicted) -> Estimate:
    """Compute a score with its interval."""
    if per_sample := scores.SCORES[name].per_sample:
        values = per_sample(*predicted)
        return Estimate(float(values.mean()), intervals.mean_interval(values))
    of_counts = scores.OF_COUNTS[name]
    return _of_resamples(of_counts(_count(predicted)), of_counts(_resample(predicted)))


def gap(name: str, train: Predicted, validation: Predicted) -> Estimate:
    """Compute the score on train − the score on validation, with its interval."""
    value = gap_value(name, train, validation)
    if per_sample := scores.SCORES[name].per_sample:
        return Estimate(value, intervals.gap_interval(per_sample(*train), per_sample(*validation)))
    of_counts = scores.OF_COUNTS[name]
    return _of_resamples(value, of_counts(_resample(train)) - of_counts(_resample(validation, seed=1)))


def gap_value(name: str, train: Predicted, validation: Predicted) -> float:
    """Compute the score on train − the score on validation."""
    if per_sample := scores.SCORES[name].per_sample:
        return float(per_sample(*train).mean() - per_sample(*validation).mean())
    of_counts = scores.OF_COUNTS[name]
    return float(of_counts(_count(train)) - of_counts(_count(validation)))


def paired(name: str, y_true: Labels, base: Probabilities, here: Probabilities) -> Interval:
    """Compute the interval of one model's score − a base's, on the same images."""
    predicted = (y_prob.argmax(axis=1) for y_prob in (base, here))
    n_classes = max(base.shape[1], here.shape[1])
    before, after = class_counts.resample(y_true, *predicted, n_classes=n_classes, rng=np.random.default_rng(0))
    of_counts = scores.OF_COUNTS[name]
    return intervals.percentile_interval(of_counts(after) - of_counts(before))


def without(name: str, some: Predicted, others: Predicted) -> tuple[float, Estimate]:
    """Compute the score without some images, and what they add to it.

    The images in question and the others are resampled apart, so that each resample has as many of both.

    Returns
    -------
    score : float
        On the others alone.
    difference : Estimate
        The score on all − the score on the others.
    """
    of_counts = scores.OF_COUNTS[name]
    counted, drawn = (_count(some), _count(others)), (_resample(some), _resample(others, seed=1))
    alone = of_counts(counted[1])
    difference = of_counts(counted[0] + counted[1]) - alone
    return float(alone), _of_resamples(difference, of_counts(drawn[0] + drawn[1]) - of_counts(drawn[1]))


def _count(predicted: Predicted) -> ClassCounts:
    return class_counts.count(predicted.y_true, predicted.y_prob.argmax(axis=1), predicted.y_prob.shape[1])


def _resample(predicted: Predicted, seed: int = 0) -> ClassCounts:
    y_true, y_prob = predicted
    rng = np.random.default_rng(seed)
    return class_counts.resample(y_true, y_prob.argmax(axis=1), n_classes=y_prob.shape[1], rng=rng)[0]


def _of_resamples(value: float | Values, resampled: Values) -> Estimate:
    return Estimate(float(value), intervals.percentile_interval(resampled))
