"""Check the intervals of folds against the truth, for docs/few-images.md.

`python -m bench.folds` in a clone after `make run`; features are kept in .bench/folds.

CIFAR-10's 60,000 images are the truth: 200 of them, drawn by class, are what a person has. A probe of the features of
EfficientNet-Lite0 is trained for each of five folds; the interval of the pooled score should hold the mean accuracy of
these probes on all other images in 95 of 100 draws. With a copy of each image there are 400, and no more to learn from.
"""

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import stats

from bench.few_images import NORMALIZED, _classifier, _images, _to_features
from tasks.data.arrays import HELD_OUT
from tasks.data.splits import assign_folds
from tasks.metrics import primary
from tasks.metrics.predictions import NO_GROUPS, Predicted
from tasks.training.logistic_regression import fit_head

SIZES = {"train": 45_000, "validation": 5_000, "test": 10_000}
N, FOLDS, DRAWS, SPLIT = 200, 5, 100, 0.72  # the share that the usual test and validation splits leave to training
KEPT = Path(".bench/folds/features.npy")


class Draw(NamedTuple):
    """What one draw of images shows."""

    truth: float  # the mean accuracy of the folds' probes on all other images
    score: float  # pooled over folds
    by_groups: bool  # whether the interval holds the truth
    by_images: bool  # likewise, with an interval that takes copies for images of their own
    width: float
    published: float  # the accuracy on all other images of a probe of all
    of_split: float  # likewise, of a probe of the usual training split


def main() -> None:
    """Print how often intervals hold the truth, and what all images add."""
    _features()  # before processes share them
    for copies in (1, 2):
        jobs = Parallel(len(os.sched_getaffinity(0)))
        draws = jobs(delayed(draw)(seed, copies) for seed in range(DRAWS))
        columns = {name: np.array([getattr(one, name) for one in draws], float) for name in Draw._fields}
        print(f"{N} images, each {'once' if copies == 1 else 'twice'}, {DRAWS} draws, {FOLDS} folds:")
        for name, held in (("groups", columns["by_groups"]), ("images", columns["by_images"])):
            low, high = stats.binomtest(int(held.sum()), DRAWS).proportion_ci(method="wilson")
            print(f"  intervals over {name} hold the truth in {held.sum():.0f} [{100 * low:.0f}, {100 * high:.0f}]")
        print(f"  score {_show(columns['score'])}, truth {_show(columns['truth'])}, width {_show(columns['width'])}")
        gain = columns["published"] - columns["of_split"]
        half = stats.sem(gain) * stats.t.ppf(0.975, DRAWS - 1)
        print(
            f"  trained on all {_show(columns['published'])}, on {SPLIT:.0%} {_show(columns['of_split'])}: "
            f"{100 * gain.mean():+.2f} points ± {100 * half:.2f}, better in {(gain > 0).sum()} of {DRAWS}"
        )


def draw(seed: int, copies: int) -> Draw:
    """Draw images, cross-validate a probe, and score it on all others."""
    rng, (features, labels) = np.random.default_rng(seed), _features()
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == label), N // 10, replace=False) for label in range(10)])
    others = np.delete(np.arange(len(labels)), rows)
    groups = np.repeat(np.arange(N), copies)
    x, y = features[rows][groups], labels[rows][groups]
    plan = assign_folds(y, groups, FOLDS, 0, seed) == HELD_OUT
    y_prob, truths = np.zeros((len(y), 10)), []
    for held_out in plan.T:
        scores = _fit(x[~held_out], y[~held_out], seed)
        y_prob[held_out] = np.eye(10)[scores(x[held_out])]
        truths.append(np.mean(scores(features[others]) == labels[others]))
    truth, pooled = float(np.mean(truths)), Predicted(y, y_prob)
    score, interval = primary.estimate("accuracy", pooled, groups)
    intervals = interval, primary.estimate("accuracy", pooled, NO_GROUPS).interval
    by_groups, by_images = (bool(low <= truth <= high) for low, high in intervals)
    part = np.isin(groups, rng.permutation(N)[: round(SPLIT * N)])
    published, of_split = (
        float(np.mean(_fit(x[use], y[use], seed)(features[others]) == labels[others])) for use in (part >= 0, part)
    )
    return Draw(truth, score, by_groups, by_images, interval[1] - interval[0], published, of_split)


def _fit(x: NDArray[np.float32], y: NDArray[np.int32], seed: int) -> Any:
    head = fit_head(x, y, 10, seed)
    return lambda features: (features @ head.kernel + head.bias).argmax(axis=1)


def _show(values: Any) -> str:
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f} %"


def _features() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Read the features and labels of all images; compute them once."""
    if not KEPT.exists():
        from tasks.device import runtime

        runtime.prepare()
        from tasks.pretrained.features import compute_features

        model = _to_features(_classifier())
        parts = [compute_features(model, _images(split, n), "bench-folds") for split, n in SIZES.items()]
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        np.save(KEPT, np.concatenate(parts))
    labels = np.concatenate([np.load(NORMALIZED / f"{split}_labels.npy") for split in SIZES])
    return np.load(KEPT, mmap_mode="r"), labels


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.folds", description=(__doc__ or "").splitlines()[0]).parse_args()
    from bench import folds  # by whose name joblib's processes find these functions

    folds.main()
