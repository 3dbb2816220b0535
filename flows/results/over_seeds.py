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
from tasks.metrics.predictions import Labels, Values
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES

FEW_TRAINED, FEW_TESTED = 5_000, 1_000  # images, below which seeds are advised: docs/gate.md
Numbers = NDArray[np.integer[Any]]  # of test images


class Scored(NamedTuple):
    """A score of both models of a seed."""

    base: float
    here: float
    influence: Values  # of each test image on here − base


class Seed(NamedTuple):
    """What a comparison keeps of a seed's predictions, which may be large."""

    scores: dict[str, Scored]
    y_true: Labels
    correct: tuple[Values, Values]  # of the base and here
    images: NDArray[np.uint64]  # a key of each test image


def score_seed(pair: Pair, names: Collection[str] = WITH_INFLUENCE) -> Seed:
    """Compute scores of a seed's two models, as means or counts.

    The key of an image is its id; without ids, its row and the digest of the test set.
    """
    y_true, before, now = pair.here.y_true, pair.base.y_prob["test"], pair.here.y_prob["test"]
    scores = {}
    for name in (name for name in SCORES if name in names):
        base, here = (SCORES[name].compute(y_true, y_prob) or 0.0 for y_prob in (before, now))
        influence = score_influence(name, y_true, now) - score_influence(name, y_true, before)
        scores[name] = Scored(base, here, influence)
    test_set = np.uint64(zlib.crc32(pair.here.images.encode()) << 32)
    keys = pair.here.test_ids if len(pair.here.test_ids) else test_set + np.arange(len(y_true), dtype=np.uint64)
    return Seed(scores, y_true, (correct(y_true, before), correct(y_true, now)), keys)


def compare_scores(seeds: Sequence[Seed], class_names: Sequence[str]) -> Iterator[Difference]:
    """Yield test scores with intervals, and each class's recall."""
    numbers = number_images(seeds)
    for name in seeds[0].scores:
        yield average(f"test.{name}", [seed.scores[name] for seed in seeds], numbers)
    for label, name in enumerate(class_names):
        recalls = [_recall(label, seed) for seed in seeds]
        tested = [(recall, images) for recall, images in zip(recalls, numbers, strict=True) if recall]
        if len(tested) > 1:
            recall = average(f"test.recall.{name}", *zip(*tested, strict=True))
            if len(class_names) <= MANY_CLASSES or recall.verdict == "real":
                yield recall


def average_metrics(seeds: Sequence[dict[str, Difference]]) -> dict[str, Difference]:
    """Average the numbers that the metrics of all seeds have.

    Their images are not at hand, so that the interval is Student's t over seeds.
    """
    averages, no_image = {}, np.zeros(1, np.intp)
    for metric in (metric for metric in seeds[0] if all(metric in rows for rows in seeds)):
        scored = [Scored(rows[metric].base, rows[metric].here, np.zeros(1)) for rows in seeds]
        averages[metric] = average(metric, scored, [no_image] * len(seeds))
    return averages


def average(metric: str, scored: Sequence[Scored], numbers: Sequence[Numbers]) -> Difference:
    """Average a score over seeds; equal numbers are one image."""
    base, here = (np.array([one[side] for one in scored]) for side in range(2))
    n_images = 1 + max(int(images.max()) for images in numbers)
    influences = [np.bincount(images, one.influence, n_images) for images, one in zip(numbers, scored, strict=True)]
    interval = crossed_interval(here - base, np.array(influences))
    return Difference(metric, float(base.mean()), float(here.mean()), interval)


def count_images(seeds: Sequence[Seed]) -> int:
    """Count different test images."""
    return 1 + max(int(images.max()) for images in number_images(seeds))


def number_images(seeds: Sequence[Seed]) -> list[Numbers]:
    """Number test images, the same image alike in all seeds."""
    _, numbers = np.unique(np.concatenate([seed.images for seed in seeds]), return_inverse=True)
    return np.split(numbers, np.cumsum([len(seed.images) for seed in seeds])[:-1])


def advise_seeds(counts: Mapping[str, Any]) -> str:
    """Say why one seed tells too little, by the number of images."""
    trained, tested = counts.get("train", FEW_TRAINED), counts.get("test", FEW_TESTED)
    if trained < FEW_TRAINED:
        return (
            f"trained on {trained:,} images: another seed may move the scores by more than these intervals say; "
            "`--seeds 5` covers that"
        )
    if tested < FEW_TESTED:
        return f"{tested:,} test images show large differences alone; with `--seeds 5` smaller ones show, too"
    return ""


def _recall(label: int, seed: Seed) -> Scored | None:
    rows = np.flatnonzero(seed.y_true == label)
    if not len(rows):
        return None
    before, now = (values[rows] for values in seed.correct)
    influence = np.zeros(len(seed.y_true))
    influence[rows] = mean_influence(now - before)
    return Scored(float(before.mean()), float(now.mean()), influence)
