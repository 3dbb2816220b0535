"""Differences over seeds: each seed's two models, on the test images that both hold.

A side's score is its mean over seeds. Intervals cover other seeds and other images, and are measured in docs/gate.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.results.verdict import Difference, Pair
from tasks.metrics.influence import WITH_INFLUENCE, mean_influence, score_influence
from tasks.metrics.intervals import crossed_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Values
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES

FEW_TRAINED, FEW_TESTED = 5_000, 1_000  # images, below which seeds are advised: docs/gate.md
Numbers = NDArray[np.integer[Any]]  # of test images


class Scored(NamedTuple):
    """A score of both models of a seed."""

    base: float
    here: float
    influence: Values  # of each test image on here − base


def advise_seeds(counts: Mapping[str, Any]) -> str:
    """Say why one run a side is not enough, from the counts of a data set."""
    trained, tested = counts.get("train", FEW_TRAINED), counts.get("test", FEW_TESTED)
    if trained < FEW_TRAINED:
        return (
            f"trained on {trained:,} images: another seed may move the scores by more than these intervals say; "
            "`--seeds 5` covers that"
        )
    if tested < FEW_TESTED:
        return f"{tested:,} test images show large differences alone; with `--seeds 5` smaller ones show, too"
    return ""


def compare_pairs(pairs: Sequence[Pair]) -> Iterator[Difference]:
    """Yield test scores with intervals, and each class's recall."""
    numbers, names = number_images(pairs), pairs[0].here.class_names
    for name in SCORES:
        if name in WITH_INFLUENCE:
            yield average(f"test.{name}", [score_pair(name, pair) for pair in pairs], numbers)
    hits = [tuple(correct(pair.here.y_true, side.y_prob["test"]) for side in pair[:2]) for pair in pairs]
    for label, name in enumerate(names):
        rows = [pair.here.y_true == label for pair in pairs]
        seeds = [seed for seed, of_class in enumerate(rows) if of_class.any()]
        if len(seeds) > 1:
            scored = [_recall(rows[seed], *hits[seed]) for seed in seeds]
            recall = average(f"test.recall.{name}", scored, [numbers[seed] for seed in seeds])
            if len(names) <= MANY_CLASSES or recall.verdict == "real":
                yield recall


def score_pair(name: str, pair: Pair) -> Scored:
    """Compute a score of WITH_INFLUENCE of both models."""
    y_true, before, now = pair.here.y_true, pair.base.y_prob["test"], pair.here.y_prob["test"]
    base, here = (SCORES[name].compute(y_true, y_prob) or 0.0 for y_prob in (before, now))
    return Scored(base, here, score_influence(name, y_true, now) - score_influence(name, y_true, before))


def average(metric: str, scored: Sequence[Scored], numbers: Sequence[Numbers]) -> Difference:
    """Average a score over seeds; equal numbers are one image."""
    base, here = (np.array([one[side] for one in scored]) for side in range(2))
    n_images = 1 + max(int(images.max()) for images in numbers)
    influences = [np.bincount(images, one.influence, n_images) for images, one in zip(numbers, scored, strict=True)]
    interval = crossed_interval(here - base, np.array(influences))
    return Difference(metric, float(base.mean()), float(here.mean()), interval)


def average_metrics(seeds: Sequence[dict[str, Difference]]) -> dict[str, Difference]:
    """Average the numbers that the metrics of all seeds have.

    Their images are not at hand, so that the interval is Student's t over seeds.
    """
    averages, no_image = {}, np.zeros(1, np.intp)
    for metric in (metric for metric in seeds[0] if all(metric in rows for rows in seeds)):
        scored = [Scored(rows[metric].base, rows[metric].here, np.zeros(1)) for rows in seeds]
        averages[metric] = average(metric, scored, [no_image] * len(seeds))
    return averages


def number_images(pairs: Sequence[Pair]) -> list[Numbers]:
    """Number test images, those of several seeds alike.

    Images without ids are told by their rows, in test sets of one digest.
    """
    sets = {images: number for number, images in enumerate(dict.fromkeys(pair.here.images for pair in pairs), 1)}
    keys = []
    for pair in pairs:
        ids, unnamed = pair.here.test_ids, np.arange(len(pair.here.y_true), dtype=np.uint64)
        number = np.uint64(0 if len(ids) else sets[pair.here.images])
        keys.append(np.stack([ids if len(ids) else unnamed, np.full_like(unnamed, number)], axis=1))
    _, numbers = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    return np.split(numbers, np.cumsum([len(part) for part in keys])[:-1])


def _recall(rows: NDArray[np.bool_], before: Values, now: Values) -> Scored:
    influence = np.zeros(len(rows))
    influence[rows] = mean_influence(now[rows] - before[rows])
    return Scored(float(before[rows].mean()), float(now[rows].mean()), influence)
