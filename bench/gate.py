"""Count how often the gate calls a difference real, for docs/gate.md.

`python -m bench.gate` in a clone after `make run`; the probes are kept in .bench/gate.

Probes are logistic regressions on features of EfficientNet-Lite0. Each is trained on other images of CIFAR-10, drawn by
class. Two of one recipe differ by their draw alone, so each difference that is called real is a mistake. A worse recipe
trains on a part of each draw: its mean score on the same test images is three standard deviations lower.

A side is one probe, or five with seeds. Each comparison draws its probes and its test images anew.
"""

import argparse
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import stats

from bench.few_images import NORMALIZED, _classifier, _images, _to_features
from flows.results.over_seeds import average_scores, score_seed
from flows.results.verdict import Difference, Pair
from tasks.metrics.intervals import mean_interval
from tasks.metrics.predictions import Predictions
from tasks.training.logistic_regression import fit_head

IMAGES = {"train": 20_000, "test": 10_000}  # whose features are computed
FEW = 200  # images that train a probe
FEWER = range(30, 160, 10)  # images that train a worse recipe, a part of each draw
PROBES = {FEW: 1_000, **dict.fromkeys(FEWER, 60), 1_000: 60, 5_000: 16}  # of each number of images
SIZES = (10_000, 1_000, 200, 40)  # of test sets
SEEDS = 5
FALL = 3.0  # standard deviations
KEPT = Path(".bench/gate")

Predicted = NDArray[np.uint8]  # classes, of shape (n_probes, n_images)
Rng = np.random.Generator


def main(alone: int = 200, over_seeds: int = 1_000) -> None:
    """Print shares called real: of equal recipes, and of a worse one."""
    for n_train in PROBES:
        _pool(n_train)  # before processes share it
    for n_train in (FEW, 1_000, 5_000):
        for n_test in SIZES:
            name = f"equal probes on {n_train:,} images called different on {n_test:,} test images"
            _share(f"{name}, one run a side", alone, partial(_equal, n_train, n_test, 1))
            if n_train < 5_000:
                _share(f"{name}, {SEEDS} seeds", over_seeds, partial(_equal, n_train, n_test, SEEDS))
    for n_test in SIZES[1:]:
        name = f"equal probes on {FEW} images called different on {n_test:,} test images, others for each seed"
        _share(f"{name}, {SEEDS} seeds", over_seeds // 2, partial(_equal, FEW, n_test, SEEDS, apart=True))
    for is_paired in (True, False):
        for n_test in SIZES:
            name = f"falls of {FALL:g} standard deviations found on {n_test:,} test images, {SEEDS} seeds"
            how = "of one draw for both sides" if is_paired else "of other draws for each side"
            _share(f"{name} {how}", over_seeds // 2, partial(_fall, n_test, is_paired))


def _equal(n_train: int, n_test: int, n_seeds: int, rng: Rng, apart: bool = False) -> tuple[bool, float]:
    """Compare probes of one recipe; return whether they count as different."""
    pool, n_sets = _pool(n_train), n_seeds if apart else 1
    base, here = pool[rng.choice(len(pool), (2, n_seeds), replace=False)]
    images = [rng.choice(IMAGES["test"], n_test, replace=False) for _ in range(n_sets)]
    return _differ(base, here, images * (n_seeds // n_sets)) != 0, 0.0


def _fall(n_test: int, is_paired: bool, rng: Rng) -> tuple[bool, float]:
    """Compare with a worse recipe; return whether the fall is found, and its size."""
    images = rng.choice(IMAGES["test"], n_test, replace=False)
    scores = _correct(FEW)[:, images].mean(axis=1)
    for n_train in reversed(FEWER):
        fall = float((scores.mean() - _correct(n_train)[:, images].mean()) / scores.std(ddof=1))
        if fall >= FALL:
            break
    usual, worse = _pool(FEW), _pool(n_train)
    here = rng.choice(len(worse), SEEDS, replace=False)
    base = here if is_paired else len(worse) + rng.choice(len(usual) - len(worse), SEEDS, replace=False)
    return _differ(usual[base], worse[here], [images] * SEEDS) < 0, fall


def _differ(base: Predicted, here: Predicted, images: list[NDArray[Any]]) -> int:
    """Return the sign of a real difference in accuracy, else 0."""
    pairs = []
    for *probes, rows in zip(base, here, images, strict=True):
        labels, ids = _labels()[rows], rows.astype(np.uint64)
        before, now = (
            Predictions(labels, {"test": np.eye(10)[probe[rows]]}, [*"0123456789"], "", 0, ids) for probe in probes
        )
        pairs.append(Pair(before, now, rows))
    seeds = [score_seed(pair, {"accuracy"}) for pair in pairs]
    if len(seeds) > 1:
        row = next(average_scores(seeds))
    else:
        before, now = (pool[0][images[0]] == _labels()[images[0]] for pool in (base, here))
        row = Difference("test.accuracy", before.mean(), now.mean(), mean_interval(now.astype(float) - before))
    return int(np.sign(row.change)) if row.verdict == "real" else 0


def _share(name: str, n: int, compare: Callable[[Rng], tuple[bool, float]]) -> None:
    """Print the share of `n` comparisons that are called real."""
    parts = np.array_split(np.arange(n), 20)
    jobs = Parallel(len(os.sched_getaffinity(0)))
    results = [result for part in jobs(delayed(_each)(compare, seeds) for seeds in parts) for result in part]
    n_real, falls = sum(is_real for is_real, _ in results), [fall for _, fall in results]
    low, high = stats.binomtest(n_real, n).proportion_ci(method="wilson")
    more = f", falls of {np.mean(falls):.2f} standard deviations in the mean" if any(falls) else ""
    print(f"{name}: {n_real / n:.1%} [{low:.1%}, {high:.1%}] of {n:,}{more}", flush=True)


def _each(compare: Callable[[Rng], tuple[bool, float]], seeds: NDArray[Any]) -> list[tuple[bool, float]]:
    return [compare(np.random.default_rng(seed)) for seed in seeds]


def _labels(split: str = "test") -> NDArray[np.int32]:
    labels: NDArray[np.int32] = np.load(NORMALIZED / f"{split}_labels.npy", mmap_mode="r")[: IMAGES[split]]
    return labels


@cache
def _correct(n_images: int) -> NDArray[np.bool_]:
    correct: NDArray[np.bool_] = _pool(n_images) == _labels()
    return correct


def _pool(n_images: int) -> Predicted:
    """Train probes on so many images each; keep what they predict on test."""
    kept = KEPT / f"{n_images}-{PROBES[n_images]}.npy"
    if not kept.exists():
        features = [_features(split) for split in IMAGES]
        jobs = Parallel(len(os.sched_getaffinity(0)))
        probes = jobs(delayed(_probe)(*features, n_images, seed) for seed in range(PROBES[n_images]))
        kept.parent.mkdir(parents=True, exist_ok=True)
        scores = 100 * (np.array(probes) == _labels()).mean(axis=1)
        print(f"{len(scores):,} probes on {n_images:,} images: {scores.mean():.2f} ± {scores.std(ddof=1):.2f} %")
        np.save(kept, np.array(probes))
    pool: Predicted = np.load(kept, mmap_mode="r")
    return pool


def _features(split: str) -> NDArray[np.float32]:
    """Compute features of a split's first images, or take stored ones."""
    kept = KEPT / f"{split}-features.npy"
    if not kept.exists():
        from tasks.device import runtime

        runtime.prepare()
        from tasks.pretrained.features import compute_features

        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, compute_features(_to_features(_classifier()), _images(split, IMAGES[split]), "bench-gate"))
    features: NDArray[np.float32] = np.load(kept, mmap_mode="r")
    return features


def _probe(train: NDArray[np.float32], test: NDArray[np.float32], n_images: int, seed: int) -> Predicted:
    """Train a probe on images drawn by class; return the classes it predicts."""
    n_drawn, labels = max(n_images, FEW), _labels("train")  # a worse recipe sees a part of the same draw
    rng = np.random.default_rng((n_drawn, seed))
    drawn = [rng.choice(np.flatnonzero(labels == label), n_drawn // 10, replace=False) for label in range(10)]
    rows = np.concatenate([of_class[: n_images // 10] for of_class in drawn])
    head = fit_head(train[rows], labels[rows], 10, seed)
    predicted: Predicted = (test @ head.kernel + head.bias).argmax(axis=1).astype(np.uint8)
    return predicted


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.gate", description=(__doc__ or "").splitlines()[0]).parse_args()
    from bench import gate  # by whose name joblib's processes find these functions

    gate.main()
