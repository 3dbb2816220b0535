"""The primary metric, by which a model is judged, with intervals.

`evaluate.headline` names it: one of `class_counts.COUNT_METRICS`. Accuracy is a mean over images, and its intervals
resample images; those of the others resample images within their class.
"""

from tasks.metrics import intervals
from tasks.metrics.class_counts import COUNT_METRICS, count_classes
from tasks.metrics.influence import score_influence
from tasks.metrics.intervals import ScoreEstimate
from tasks.metrics.predictions import NO_GROUPS, Groups, Labels, Predicted, Probabilities
from tasks.metrics.scores import SCORES


def compute(name: str, predicted: Predicted) -> float:
    """Compute a score."""
    return float(COUNT_METRICS[name](count_classes(*predicted)))


def estimate(name: str, predicted: Predicted, groups: Groups = NO_GROUPS) -> ScoreEstimate:
    """Compute a score with its interval over images or groups."""
    if len(groups):
        score = compute(name, predicted)
        return ScoreEstimate(score, intervals.group_interval(score, score_influence(name, *predicted), groups))
    if per_sample := SCORES[name].per_sample:
        interval = intervals.mean_interval(per_sample(*predicted))
    else:
        (counts,) = intervals.resample_counts(*predicted)
        interval = intervals.percentile_interval(COUNT_METRICS[name](counts))
    return ScoreEstimate(compute(name, predicted), interval)


def gap(name: str, train: Predicted, validation: Predicted, groups: Groups = NO_GROUPS) -> ScoreEstimate:
    """Compute the score on train − that on validation, with its interval.

    With groups it covers the images of validation, and takes the score on train as it is.
    """
    if len(groups):
        held_out, (low, high) = estimate(name, validation, groups)
        score = compute(name, train)
        return ScoreEstimate(score - held_out, (score - high, score - low))
    if per_sample := SCORES[name].per_sample:
        interval = intervals.gap_interval(per_sample(*train), per_sample(*validation))
    else:
        (first,), (second,) = intervals.resample_counts(*train), intervals.resample_counts(*validation, seed=1)
        interval = intervals.percentile_interval(COUNT_METRICS[name](first) - COUNT_METRICS[name](second))
    return ScoreEstimate(compute(name, train) - compute(name, validation), interval)


def paired(
    name: str, y_true: Labels, base: Probabilities, head: Probabilities, groups: Groups = NO_GROUPS
) -> intervals.Interval:
    """Compute the interval of head's score − base's, on the same images."""
    if len(groups):
        difference = compute(name, Predicted(y_true, head)) - compute(name, Predicted(y_true, base))
        influence = score_influence(name, y_true, head) - score_influence(name, y_true, base)
        return intervals.group_interval(difference, influence, groups)
    before, after = map(COUNT_METRICS[name], intervals.resample_counts(y_true, base, head))
    return intervals.percentile_interval(after - before)


def score_excluding(name: str, excluded: Predicted, others: Predicted) -> tuple[float, ScoreEstimate]:
    """Compute the score without some images, and what they add to it.

    Both groups are resampled separately, so that each resample has as many of both.
    """
    metric = COUNT_METRICS[name]
    score = compute(name, others)
    difference = float(metric(count_classes(*excluded) + count_classes(*others))) - score
    (first,), (second,) = intervals.resample_counts(*excluded), intervals.resample_counts(*others, seed=1)
    interval = intervals.percentile_interval(metric(first + second) - metric(second))
    return score, ScoreEstimate(difference, interval)
