"""Differences of two sides over seeds, with intervals over seeds and images.

The two models of a seed are compared on the test images that both hold. A side's score is its mean over seeds. How
often a difference is called real is measured in docs/gate.md.
"""

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.results.verdict import Difference, Pair
from tasks.metrics.influence import WITH_INFLUENCE, mean_influence, score_influence
from tasks.metrics.intervals import crossed_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import NO_IDS, Values
from tasks.metrics.scores import SCORES
from tasks.metrics.significance import MIN_PAIRS
from tasks.metrics.summarize import MANY_CLASSES

FEW_TRAINED, FEW_TESTED = 20_000, 1_000  # images, below which seeds are advised: docs/gate.md
RECALL = "test.recall."


class Scored(NamedTuple):
    """A score of a seed's two models."""

    base: float
    here: float
    images: NDArray[np.uint64] = NO_IDS  # a key of each test image; none where these are not at hand
    influence: Values = np.empty(0)  # of each of them on here − base


def score_seed(pair: Pair, names: Collection[str] = WITH_INFLUENCE) -> dict[str, Scored]:
    """Compute test scores and the recall of each class.

    The key of an image is its group, with folds; otherwise its id; without ids, its row and the digest of the test set.
    """
    y_true, before, now = pair.here.y_true, pair.base.y_prob["test"], pair.here.y_prob["test"]
    test_set = np.uint64(zlib.crc32(pair.here.images.encode()) << 32)
    images = pair.here.test_ids if len(pair.here.test_ids) else test_set + np.arange(len(y_true), dtype=np.uint64)
    images = pair.here.groups.astype(np.uint64) if len(pair.here.groups) else images
    scores = {}
    for name in (name for name in SCORES if name in names):
        base, here = (SCORES[name].compute(y_true, y_prob) or 0.0 for y_prob in (before, now))
        influence = score_influence(name, y_true, now) - score_influence(name, y_true, before)
        scores[f"test.{name}"] = Scored(base, here, images, influence)
    were_correct, are_correct = correct(y_true, before), correct(y_true, now)
    for label, name in enumerate(pair.here.class_names):
        if len(rows := np.flatnonzero(y_true == label)):
            old, new = were_correct[rows], are_correct[rows]
            scores[RECALL + name] = Scored(old.mean(), new.mean(), images[rows], mean_influence(new - old))
    return scores


def average_scores(seeds: Sequence[Mapping[str, Scored]]) -> Iterator[Difference]:
    """Average each score over the seeds that have it."""
    metrics = dict.fromkeys(metric for scores in seeds for metric in scores)
    has_many_classes = sum(metric.startswith(RECALL) for metric in metrics) > MANY_CLASSES
    for metric in metrics:
        scored = [scores[metric] for scores in seeds if metric in scores]
        if len(scored) >= min(len(seeds), MIN_PAIRS):
            row = _average(metric, scored)
            if not (has_many_classes and metric.startswith(RECALL)) or row.verdict == "real":
                yield row


def advise_seeds(counts: Mapping[str, Any]) -> str:
    """Say why one seed tells too little, by the number of images."""
    trained, tested = counts.get("train", FEW_TRAINED), counts.get("test", FEW_TESTED)
    if tested < FEW_TESTED:
        return f"{tested:,} test images show only large differences; with `--seeds 5` smaller ones show, too"
    if trained < FEW_TRAINED:
        why = "another seed may move the scores by more than these intervals say; `--seeds 5` covers that"
        return f"trained on {trained:,} images: {why}"
    return ""


def _average(metric: str, scored: Sequence[Scored]) -> Difference:
    base, here = (np.array([one[side] for one in scored]) for side in range(2))
    keys, numbers = np.unique(np.concatenate([one.images for one in scored]), return_inverse=True)
    seeds = np.repeat(np.arange(len(scored)), [len(one.images) for one in scored])
    influences = np.zeros((len(scored), len(keys)))
    np.add.at(influences, (seeds, numbers), np.concatenate([one.influence for one in scored]))
    low, high = crossed_interval(here - base, influences)
    score = SCORES.get(metric.removeprefix("test."))
    limit = score.highest - score.lowest if score else 1.0 if metric.startswith(RECALL) else np.inf
    return Difference(metric, float(base.mean()), float(here.mean()), (max(low, -limit), min(high, limit)))
