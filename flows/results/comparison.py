"""Compare two sides: which differences are more than noise?

Both models are compared on the same test images, one by one, so that what is hard for both cancels out. Where the test
sets differ, these are the images that both hold: neither model was trained on them. Labels are today's. Each interval
is at 95 % by itself: of many classes, one now and then leaves zero out by chance.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.repo.graph import artifact
from flows.repo.merges import refuse_unresolved
from flows.results.changes import edited_parameters
from flows.results.over_seeds import Scored, advise_seeds, average_scores, score_seed
from flows.results.price import describe_price
from flows.results.provenance import made_elsewhere
from flows.results.sides import IncomparableError, Side, find_sides
from flows.results.summary import primary_metric
from flows.results.verdict import Comparison, DataCheck, Difference, Pair
from tasks.metrics.class_counts import COUNT_METRICS
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Groups, Predictions
from tasks.metrics.primary import paired
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES
from tasks.params.gate import DEFAULT, Gate

MIN_SHARED = 6  # test images: fewer never show a difference at 95 %, as 2 · 0.5⁵ > 0.05
RULE = "both sides must be scored on the same test images"


def compare(root: Path, base: str, here: str = "", gate: Gate = DEFAULT) -> Comparison:
    """Compare the workspace at `root`, or the side `here`, with a base.

    Raises
    ------
    IncomparableError
        If there is no such commit, it has no metrics, or the two share hardly any test image.
    FileNotFoundError
        If the pipeline has not been run at `root`.
    """
    refuse_unresolved(root)
    before, now = sides = find_sides(root, base, here)
    edited = {side: edited_parameters(side) for side in sides}
    if edited[now] and not now.commit:
        edits = ", ".join(edited[now])
        raise IncomparableError(f"the results here must be of params.yaml; received {edits} since; run `dvc repro`")
    primary, metrics = _compare_metrics(*sides)
    pair, note = None, ""
    try:
        old = before.read_predictions()
    except IncomparableError as error:
        if f"test.{primary}" not in metrics:
            rule = f"{artifact(root, 'metrics')} of {before.name} must hold test.{primary}"
            raise IncomparableError(f"{rule}, and {error}") from error
        if _have_other_test_sets(*sides):
            raise IncomparableError(f"{RULE}; received others at {before.name}, and {error}") from error
        note = f"metrics alone, without intervals: {error}"
    else:
        pair, note = _pair(old, _read_matching(now, metrics["test.accuracy"].here), before.name)
        metrics = {} if note else _without_classes(metrics)  # otherwise of each side's own images
        metrics |= {row.metric: row for row in _compare_predictions(pair.base, pair.here)}
    others = ((side.name, ", ".join(edited[side])) for side in sides if edited[side])
    stale = (f"the results of {side} are of other parameters: {edits}" for side, edits in others)
    notes = (note, *stale, *_name_machines(*sides), advise_seeds(now.read_counts()))
    checks = list(_check_data(*sides, gate))
    return Comparison(*sides, primary, gate, list(metrics.values()), checks, pair, tuple(filter(None, notes)))


def compare_seeds(root: Path, base: Side, here: Side, runs: Sequence[tuple[str, str]], gate: Gate) -> Comparison:
    """Compare two sides that were run anew with several seeds.

    Parameters
    ----------
    base, here : Side
        They name the sides; what is shown beside the scores is that of the first seed's runs.
    runs : sequence of (str, str)
        For each seed the commits of its experiments, of base and here.

    Raises
    ------
    IncomparableError
        If fewer than two seeds ran, or a seed's runs share hardly any test image.
    """
    if len(runs) < 2:
        raise IncomparableError(f"a comparison over seeds must have two or more; received {len(runs)}")
    sides = [(Side(root, base.name, before), Side(root, here.name, now)) for before, now in runs]
    first: Pair | None = None  # whose images are shown; those of all seeds may be too large to keep
    tested, metrics, shared = [], [], []
    for number, run in enumerate(sides, 1):
        primary, rows, pair, note = _compare_run(*run, f"run {number} of {len(runs)}")
        first = first or pair
        tested.append(score_seed(pair))
        metrics.append({metric: Scored(row.base, row.here) for metric, row in rows.items()})
        shared.append(note and f"seed {number - 1}: {note}")
    seeds = tested if any(shared) else [old | new for old, new in zip(metrics, tested, strict=True)]
    differences = list(average_scores(seeds))
    n_images = len(np.unique(np.concatenate([scores["test.accuracy"].images for scores in tested])))
    note = (
        f"means over {len(runs)} seeds, with which both sides were run anew, on {n_images:,} test images in all; "
        "intervals cover other seeds and other images"
    )
    notes = dict.fromkeys((note, *shared, *(line for run in sides for line in _name_machines(*run))))
    checks = list(_check_data(*sides[0], gate))
    return Comparison(*sides[0], primary, gate, differences, checks, first, tuple(filter(None, notes)), len(runs))


def _compare_run(before: Side, now: Side, run: str) -> tuple[str, dict[str, Difference], Pair, str]:
    try:
        primary, metrics = _compare_metrics(before, now)
        predictions = _read_matching(now, metrics["test.accuracy"].here)
        return primary, _without_classes(metrics), *_pair(before.read_predictions(), predictions, before.name)
    except IncomparableError as error:
        raise IncomparableError(f"{run}: {error}") from error


def _name_machines(*sides: Side) -> Iterator[str]:
    """Name the sides that were made elsewhere."""
    elsewhere = ((side.name, made_elsewhere(side.root, side.commit or None)) for side in sides)
    yield from (f"{side}: {how}" for side, how in elsewhere if how)


def _read_matching(side: Side, recorded: float) -> Predictions:
    """Read predictions that must have the accuracy of the metrics."""
    predictions = side.read_predictions()
    counted = float(correct(predictions.y_true, predictions.y_prob["test"]).mean())
    if abs(recorded - counted) > 1e-4:
        files = " and ".join(artifact(side.root, name) for name in ("metrics", "predictions"))
        raise IncomparableError(
            f"{files} must be of one run; received accuracies of {recorded:.4f} and {counted:.4f}; run `dvc repro`, or "
            "`dvc checkout` after `git checkout`"
        )
    return predictions


def _have_other_test_sets(base: Side, here: Side) -> bool:
    classes = {tuple(json.loads(side.read_artifact("metrics")).get("f1", ())) for side in (base, here)}
    digests = {side.read_counts().get("test_set_digest") for side in (base, here)}
    return len(digests - {None}) == 2 or len(classes - {()}) == 2


def _check_data(base: Side, here: Side, gate: Gate) -> Iterator[DataCheck]:
    before, now = base.read_counts(), here.read_counts()
    for name, level in gate.model_dump(exclude={"tolerance"}).items():
        if level != "off" and name in before and name in now:
            numbers = (sum(n.values()) if isinstance(n, dict) else n for n in (before[name], now[name]))
            yield DataCheck(name, level, *numbers)


def _pair(old: Predictions, new: Predictions, base: str) -> tuple[Pair, str]:
    """Pair predictions by image; say how many where test sets differ."""
    if old.images == new.images and np.array_equal(old.y_true, new.y_true):
        return Pair(old, new, np.arange(len(new.y_true))), ""
    found: dict[Any, int] = {}  # the row of a file, and of a file with a label, as identical files may have two
    for row, key in reversed([*enumerate(zip(old.test_ids.tolist(), old.y_true.tolist(), strict=False))]):
        found[key] = found[key[0]] = row
    keys = zip(new.test_ids.tolist(), new.y_true.tolist(), strict=False)
    rows = np.array([found.get(key, found.get(key[0], -1)) for key in keys], int)
    here = np.flatnonzero(rows >= 0)
    before = rows[here]
    counts = f"{len(here):,} of the {len(new.y_true):,} test images here"
    faults = {
        f"other classes at {base}": old.class_names != new.class_names,
        f"others at {base}, whose predictions do not name them, as in an earlier version": not len(old.test_ids),
        f"others at {base}; fewer than {MIN_SHARED} are on both sides: {counts}": len(here) < MIN_SHARED,
    }
    if fault := next((fault for fault, is_true in faults.items() if is_true), None):
        raise IncomparableError(f"{RULE}; received {fault}; choose another --base")
    labels = old.y_true[before], new.y_true[here]
    groups = new.groups[here] if len(new.groups) else new.groups
    relabelled = ""
    if (labels[0] != labels[1]).any():
        y_prob = old.y_prob["test"][before], new.y_prob["test"][here]
        relabelled = f"; the table has the labels here: {describe_price(labels, y_prob, groups)}"
    old, new = (
        side._replace(
            y_true=new.y_true[here],
            y_prob={"test": side.y_prob["test"][rows]},
            test_ids=new.test_ids[here],
            groups=groups,
        )
        for side, rows in ((old, before), (new, here))
    )
    others = "; scores of training and validation images are left out, as these differ, too"
    return Pair(old, new, here), f"compared on {counts}, those that {base} holds, too{relabelled}{others}"


def _without_classes(metrics: dict[str, Difference]) -> dict[str, Difference]:
    """Leave out F1 of each class, beside which recall has an interval."""
    return {metric: row for metric, row in metrics.items() if not metric.startswith("f1.")}


def _compare_metrics(base: Side, here: Side) -> tuple[str, dict[str, Difference]]:
    file = artifact(base.root, "metrics")
    try:
        before, now = (json.loads(side.read(file)) for side in (base, here))
        primary, metrics = primary_metric(now), {row.metric: row for row in _common_numbers(before, now)}
        if primary_metric(before) != primary:  # their gaps are differences of other scores
            metrics.pop("generalization_gap", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise IncomparableError(f"{file} must hold scores on both sides; it is damaged: {error}") from error
    if "test.accuracy" not in metrics:
        received = f"none at {base.name} or {here.name}"
        raise IncomparableError(f"{file} must hold test.accuracy on both sides; received {received}")
    return primary, metrics


def _common_numbers(base: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Yield the numbers that both metrics files have, by dotted key."""
    for key in (key for key in here if key in base):
        if isinstance(here[key], dict):
            yield from _common_numbers(base[key], here[key], f"{prefix}{key}.")
        else:
            yield Difference(prefix + key, base[key], here[key])


def _compare_predictions(base: Predictions, here: Predictions) -> Iterator[Difference]:
    """Yield test scores with paired intervals, and each class's recall."""
    y_true, before, now = here.y_true, base.y_prob["test"], here.y_prob["test"]
    for name, score in SCORES.items():
        if score.per_sample:
            base_values, values = (score.per_sample(y_true, y_prob) for y_prob in (before, now))
            yield _paired(f"test.{name}", base_values, values, here.groups)
        elif name in COUNT_METRICS:
            old, new = (score.compute(y_true, y_prob) or 0.0 for y_prob in (before, now))
            yield Difference(f"test.{name}", old, new, paired(name, y_true, before, now, here.groups))
    were_correct, are_correct = correct(y_true, before), correct(y_true, now)
    for label, name in enumerate(here.class_names):
        if (rows := y_true == label).any():
            groups = here.groups[rows] if len(here.groups) else here.groups
            recall = _paired(f"test.recall.{name}", were_correct[rows], are_correct[rows], groups)
            if len(here.class_names) <= MANY_CLASSES or recall.verdict == "real":
                yield recall


def _paired(metric: str, base: NDArray[Any], here: NDArray[Any], groups: Groups) -> Difference:
    return Difference(metric, float(base.mean()), float(here.mean()), mean_interval(here - base, groups))
