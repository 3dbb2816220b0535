"""Compare a workspace with another commit: which differences are more than noise?

Both models are compared on the same test images, one by one, so that what is hard for both cancels out. Where the test
sets differ, these are the images that both hold: neither model was trained on them. Labels are today's. Each interval
is at 95 % by itself: of many classes, one now and then leaves zero out by chance.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.repo.dvc_internals import stored_object
from flows.repo.git import GitError, commit_of, read_blob
from flows.repo.graph import artifact
from flows.repo.merges import refuse_unresolved
from flows.repo.repair import recorded_outputs
from flows.results.provenance import made_elsewhere
from flows.results.summary import primary_metric
from flows.results.tables import table
from tasks.metrics.class_counts import COUNT_METRICS
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Predictions, read_predictions
from tasks.metrics.primary import paired
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES

MIN_SHARED = 6  # test images: fewer never show a difference at 95 %, as 2 · 0.5⁵ > 0.05
RULE = "both sides must be scored on the same test images"


class IncomparableError(RuntimeError):
    """Two revisions that cannot be compared."""


@dataclass(frozen=True)
class Difference:
    """One metric of two revisions."""

    metric: str
    base: float
    here: float
    interval: tuple[float, float] | None = None  # at 95 %, of here − base; None without predictions

    @property
    def change(self) -> float:
        return self.here - self.base

    @property
    def verdict(self) -> str:
        if self.change == 0:
            return "equal"
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "within noise" if low <= 0 <= high else "real"


@dataclass(frozen=True)
class Comparison:
    """All metrics that both revisions have."""

    base: str
    primary_metric: str
    differences: list[Difference]
    note: str = ""  # why there are no intervals, or on how many images
    made_elsewhere: tuple[str, ...] = ()

    def regression(self, tolerance: float) -> Difference | None:
        """Return the primary metric where it fell by more points, beyond noise."""
        primary = next(row for row in self.differences if row.metric == f"test.{self.primary_metric}")
        has_fallen = -100 * primary.change > tolerance + 1e-9  # a rounding error is no fall
        return primary if has_fallen and primary.verdict in {"real", "unknown"} else None

    def markdown(self) -> str:
        """Return a table for people."""
        rows = [
            (
                row.metric,
                f"{row.base:.4f}",
                f"{row.here:.4f}",
                f"{row.change:+.4f}",
                f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}" if row.interval else "",
                row.verdict,
            )
            for row in self.differences
        ]
        header = ("metric", self.base, "here", "difference", "95 % interval", "verdict")
        notes = [line for note in (self.note, *self.made_elsewhere) if note for line in ("", note)]
        return "\n".join([*table(header, rows), *notes])

    def as_json(self, tolerance: float) -> dict[str, Any]:
        """Return the same for programs."""
        rows = [{**row.__dict__, "difference": row.change, "verdict": row.verdict} for row in self.differences]
        judged = {"base": self.base, "tolerance": tolerance, "passed": self.regression(tolerance) is None}
        return {**judged, "note": self.note, "made_elsewhere": self.made_elsewhere, "metrics": rows}


def compare(root: Path, base: str) -> Comparison:
    """Compare the files at `root` with those of a commit.

    Raises
    ------
    IncomparableError
        If there is no such commit, it has no metrics, or the two share hardly any test image.
    FileNotFoundError
        If the pipeline has not been run at `root`.
    """
    refuse_unresolved(root)
    metrics_file, predictions_file = artifact(root, "metrics"), artifact(root, "predictions")
    if not base or (commit := commit_of(root, base)) is None:
        raise IncomparableError(f"--base must be a commit of this repository; received {base or 'nothing'}")
    sides = _read_commit(root, base, commit, metrics_file), (root / metrics_file).read_bytes()
    primary, metrics = _compare_metrics(*sides, metrics_file, base)
    made = {base: made_elsewhere(root, commit), "here": made_elsewhere(root)}
    elsewhere = tuple(f"{side}: {how}" for side, how in made.items() if how)
    try:
        old = _parse_predictions(_read_commit(root, base, commit, predictions_file), base)
    except IncomparableError as error:
        if f"test.{primary}" not in metrics:
            raise IncomparableError(f"{metrics_file} of {base} must hold test.{primary}, and {error}") from error
        if _have_other_test_sets(root, commit, sides):
            raise IncomparableError(f"{RULE}; received others at {base}, and {error}") from error
        without = f"metrics alone, without intervals: {error}"
        return Comparison(base, primary, list(metrics.values()), without, elsewhere)
    new = _parse_predictions((root / predictions_file).read_bytes(), "this workspace")
    recorded, counted = metrics["test.accuracy"].here, float(correct(new.y_true, new.y_prob["test"]).mean())
    if abs(recorded - counted) > 1e-4:
        raise IncomparableError(
            f"{metrics_file} and {predictions_file} must be of one run; received accuracies of {recorded:.4f} and "
            f"{counted:.4f}; run `dvc repro`, or `dvc checkout` after `git checkout`"
        )
    note = ""
    if old.images != new.images or not np.array_equal(old.y_true, new.y_true):
        old, new, note = _keep_shared(old, new, base)
        metrics = {}  # of each side's own images
    scores = {row.metric: row for row in _compare_predictions(old, new)}
    return Comparison(base, primary, list({**metrics, **scores}.values()), note, elsewhere)


def _have_other_test_sets(root: Path, commit: str, metrics: tuple[bytes, bytes]) -> bool:
    classes = {tuple(json.loads(side).get("f1", ())) for side in metrics}
    path = artifact(root, "dataset")
    contents = read_blob(root, commit, path), (root / path).read_bytes() if (root / path).exists() else None
    digests = {json.loads(content or "{}").get("test_set_digest") for content in contents}
    return len(digests - {None}) == 2 or len(classes - {()}) == 2


def _keep_shared(old: Predictions, new: Predictions, base: str) -> tuple[Predictions, Predictions, str]:
    """Keep the test images that both sides hold, and say how many."""
    ids, first = np.unique(old.test_ids, return_index=True)  # identical files have one prediction
    here = np.flatnonzero(np.isin(new.test_ids, ids))
    before = first[np.searchsorted(ids, new.test_ids[here])]
    counts = f"{len(here):,} of the {len(new.y_true):,} test images here, of {len(old.y_true):,} at {base}"
    faults = {
        f"other classes at {base}": old.class_names != new.class_names,
        f"others at {base}, whose predictions do not name them, as in an earlier version": not len(old.test_ids),
        f"others at {base}; fewer than {MIN_SHARED} are on both sides: {counts}": len(here) < MIN_SHARED,
    }
    if fault := next((fault for fault, is_true in faults.items() if is_true), None):
        raise IncomparableError(f"{RULE}; received {fault}; choose another --base")
    n_relabelled = int((old.y_true[before] != new.y_true[here]).sum())
    relabelled = f"; {n_relabelled:,} whose labels differ, scored by those here" if n_relabelled else ""
    old, new = (
        side._replace(y_true=new.y_true[here], y_prob={"test": side.y_prob["test"][rows]})
        for side, rows in ((old, before), (new, here))
    )
    return old, new, f"compared on the test images that both sides share: {counts}{relabelled}"


def _compare_metrics(base: bytes, here: bytes, file: str, revision: str) -> tuple[str, dict[str, Difference]]:
    try:
        before, now = json.loads(base), json.loads(here)
        primary, metrics = primary_metric(now), {row.metric: row for row in _common_numbers(before, now)}
        if primary_metric(before) != primary:  # their gaps are differences of other scores
            metrics.pop("generalization_gap", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise IncomparableError(f"{file} must hold scores on both sides; it is damaged: {error}") from error
    if "test.accuracy" not in metrics:
        raise IncomparableError(f"{file} must hold test.accuracy on both sides; received none at {revision} or here")
    return primary, metrics


def _common_numbers(base: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Yield the numbers that both metrics files have, by dotted key."""
    for key in (key for key in here if key in base):
        if isinstance(here[key], dict):
            yield from _common_numbers(base[key], here[key], f"{prefix}{key}.")
        else:
            yield Difference(prefix + key, base[key], here[key])


def _read_commit(root: Path, base: str, commit: str, path: str) -> bytes:
    """Read a file of a commit from git, DVC's cache or remote."""
    try:
        content = read_blob(root, commit, path)
        if content is None:
            digests = recorded_outputs(read_blob(root, commit, "dvc.lock") or b"") or {}
            content = stored_object(root, digests[path]) if path in digests else None
    except (GitError, OSError) as error:
        raise IncomparableError(f"{path} of {base} cannot be read: {error}") from error
    if content is None:
        raise IncomparableError(
            f"{path} of {base} is in neither git nor DVC's cache; `dvc fetch --all-commits` gets it from a remote, "
            f"or `git checkout {base} && dvc repro` makes it again"
        )
    return content


def _parse_predictions(content: bytes, side: str) -> Predictions:
    try:
        return read_predictions(BytesIO(content))
    except ValueError as error:
        fault = f"the predictions of {side} cannot be read: {error}; `dvc repro` makes them again"
        raise IncomparableError(fault) from error


def _compare_predictions(base: Predictions, here: Predictions) -> Iterator[Difference]:
    """Yield test scores with paired intervals, and each class's recall."""
    y_true, before, now = here.y_true, base.y_prob["test"], here.y_prob["test"]
    for name, score in SCORES.items():
        if score.per_sample:
            yield _paired(f"test.{name}", score.per_sample(y_true, before), score.per_sample(y_true, now))
        elif name in COUNT_METRICS:
            old, new = (score.compute(y_true, y_prob) or 0.0 for y_prob in (before, now))
            yield Difference(f"test.{name}", old, new, paired(name, y_true, before, now))
    were_correct, are_correct = correct(y_true, before), correct(y_true, now)
    for label, name in enumerate(here.class_names):
        if (rows := y_true == label).any():
            recall = _paired(f"test.recall.{name}", were_correct[rows], are_correct[rows])
            if len(here.class_names) <= MANY_CLASSES or recall.verdict == "real":
                yield recall


def _paired(metric: str, base: NDArray[Any], here: NDArray[Any]) -> Difference:
    return Difference(metric, float(base.mean()), float(here.mean()), mean_interval(here - base))
