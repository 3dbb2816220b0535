"""Compare a workspace with another commit: which differences are more than noise?

Both models are compared on the same test images, one by one, so that what is hard for both cancels out. Predictions
over different test images are refused. Each interval is at 95 % by itself: of many classes, one now and then leaves
zero out by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.repo.git import GitError, at, commit_of, refuse_unresolved
from flows.repo.graph import artifact
from flows.results.provenance import made_elsewhere
from flows.results.summary import headline
from flows.results.tables import table
from tasks.metrics.class_counts import COUNT_METRICS
from tasks.metrics.intervals import mean_interval
from tasks.metrics.per_sample import correct
from tasks.metrics.primary import paired
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES
from tasks.params import ParameterError


class IncomparableError(RuntimeError):
    """Two revisions that cannot be compared; the message says why and what to do."""


@dataclass(frozen=True)
class Difference:
    """One metric of two revisions; `interval`, at 95 %, is that of here − base, where both predictions are known."""

    metric: str
    base: float
    here: float
    interval: tuple[float, float] | None = None

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
    """All metrics that two revisions share.

    `note` says why there are no intervals, where there are none; `made_elsewhere` which side was not made as this
    machine would.
    """

    base: str
    headline: str  # of this workspace
    differences: list[Difference]
    note: str = ""
    made_elsewhere: tuple[str, ...] = ()

    def regression(self, tolerance: float) -> Difference | None:
        """The headline on test, if it fell by more than `tolerance` points and that is not within noise."""
        judged = next(one for one in self.differences if one.metric == f"test.{self.headline}")
        regressed = -100 * judged.change > tolerance + 1e-9  # a rounding error is no fall
        return judged if regressed and judged.verdict in {"real", "unknown"} else None

    def markdown(self) -> str:
        """A table for people."""
        rows = [
            (
                one.metric,
                f"{one.base:.4f}",
                f"{one.here:.4f}",
                f"{one.change:+.4f}",
                f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}" if one.interval else "",
                one.verdict,
            )
            for one in self.differences
        ]
        header = ("metric", self.base, "here", "difference", "95 % interval", "verdict")
        said = [line for one in (self.note, *self.made_elsewhere) if one for line in ("", one)]
        return "\n".join([*table(header, rows), *said])

    def as_json(self, tolerance: float) -> dict[str, Any]:
        """The same for programs."""
        rows = [{**one.__dict__, "difference": one.change, "verdict": one.verdict} for one in self.differences]
        passed = self.regression(tolerance) is None
        said = {"note": self.note, "made_elsewhere": self.made_elsewhere}
        return {"base": self.base, "tolerance": tolerance, "passed": passed, **said, "metrics": rows}


@dataclass(frozen=True)
class Predictions:
    """A model's predictions on the test images, as evaluate saves them."""

    y_true: NDArray[Any]  # of shape (n,)
    y_prob: NDArray[Any]  # of shape (n, n_classes)
    classes: list[str]
    images: str  # their digest

    @classmethod
    def read(cls, content: bytes, whose: str) -> Predictions:
        """Raises IncomparableError for a file that is damaged, or of another version of evaluate."""
        try:
            with np.load(BytesIO(content)) as saved:
                return cls(saved["labels"], saved["probabilities"], saved["classes"].tolist(), str(saved["images"]))
        except Exception as error:  # damage ends as ValueError, zlib.error, NotImplementedError and more
            raise IncomparableError(
                f"the predictions of {whose} cannot be read: {error}; `dvc repro` mends them"
            ) from error


def compare(root: Path, base: str) -> Comparison:
    """Compare the files at `root` with what a commit of it has.

    Raises
    ------
    IncomparableError
        If there is no such commit, a side has no metrics, or the two were scored on different test images.
    """
    try:
        refuse_unresolved(root)
        commit = commit_of(root, base) if base else None
        metrics_file, predictions_file = artifact(root, "metrics"), artifact(root, "predictions")
    except (GitError, ParameterError) as error:
        raise IncomparableError(str(error)) from error
    if commit is None:
        raise IncomparableError(f"--base must be a commit of this repository; received {base or 'nothing'}")
    try:
        sides = _at(root, base, commit, metrics_file), _here(root, metrics_file)
        then, now = (json.loads(content) for content in sides)
        judged = headline(now)
        metrics = list(_of_metrics(then, now))
        if headline(then) != judged:  # their gaps are differences of other scores
            metrics = [one for one in metrics if one.metric != "generalization_gap"]
    except (ValueError, AttributeError, TypeError) as error:
        raise IncomparableError(f"{metrics_file} must hold scores on both sides; it is damaged: {error}") from error
    if "test.accuracy" not in {one.metric for one in metrics}:
        raise IncomparableError(
            f"{metrics_file} must hold test.accuracy on both sides; received none at {base} or here"
        )
    sides_made = {base: made_elsewhere(root, commit), "here": made_elsewhere(root)}
    elsewhere = tuple(f"{side}: {said}" for side, said in sides_made.items() if said)
    try:
        old = Predictions.read(_at(root, base, commit, predictions_file), base)
    except IncomparableError as error:
        if f"test.{judged}" not in {one.metric for one in metrics}:
            raise IncomparableError(f"{metrics_file} of {base} must hold test.{judged}, and {error}") from error
        return Comparison(base, judged, metrics, f"metrics alone, without intervals: {error}", elsewhere)
    new = Predictions.read(_here(root, predictions_file), "this workspace")
    if old.images != new.images or not np.array_equal(old.y_true, new.y_true):
        raise IncomparableError(
            f"both sides must be scored on the same test images; received others at {base}; choose another --base"
        )
    compared = {one.metric: one for one in _of_predictions(old, new)}
    said, counted = now["test"]["accuracy"], compared["test.accuracy"].here
    if abs(said - counted) > 1e-4:
        raise IncomparableError(
            f"{metrics_file} and {predictions_file} must be of one run; received accuracies of {said:.4f} and "
            f"{counted:.4f}; run `dvc repro`, or `dvc checkout` after `git checkout`"
        )
    listed = [compared.pop(one.metric, one) for one in metrics] + list(compared.values())
    return Comparison(base, judged, listed, made_elsewhere=elsewhere)


def _here(root: Path, path: str) -> bytes:
    try:
        return (root / path).read_bytes()
    except FileNotFoundError:
        raise IncomparableError(f"{path} must exist in this workspace; run `dvc repro` first") from None


def _at(root: Path, base: str, commit: str, path: str) -> bytes:
    """A file of a commit, from git or DVC's cache or remote."""
    try:
        content = at(root, commit, path)
        if content is None and (digest := _locked(root, commit, path)):
            content = _stored(root, digest)
    except (GitError, OSError, YAMLError, KeyError) as error:
        raise IncomparableError(f"{path} of {base} cannot be read: {error}") from error
    if content is None:
        raise IncomparableError(
            f"{path} of {base} is in neither git nor DVC's cache; `dvc fetch --all-commits` gets it from a remote, "
            f"or `git checkout {base} && dvc repro` makes it again"
        )
    return content


def _locked(root: Path, commit: str, path: str) -> str | None:
    """The digest of an output, as a commit's dvc.lock has it."""
    stages = (YAML(typ="safe").load(at(root, commit, "dvc.lock") or b"") or {}).get("stages", {})
    outputs = (out for stage in stages.values() for out in stage.get("outs", []))
    return next((out["md5"] for out in outputs if out["path"] == path), None)


def _stored(root: Path, digest: str) -> bytes | None:
    """An object of DVC's cache or remote.

    DVC is not asked for the commit: its own git would wait for ever for what a partial clone lacks.
    """
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        for storage in (lambda: repo.cache.local, repo.cloud.get_remote_odb):
            try:
                odb = storage()
                with odb.fs.open(odb.oid_to_path(digest), "rb") as file:
                    content: bytes = file.read()
                    return content
            except (FileNotFoundError, NoRemoteError):
                continue
            except Exception as error:  # whatever a remote's own library raises: of credentials, of the network
                raise OSError(str(error)) from error
    return None


def _of_metrics(base: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[Difference]:
    """The numbers that both metrics files have, by dotted key."""
    for key in (key for key in here if key in base):
        if isinstance(here[key], dict):
            yield from _of_metrics(base[key], here[key], f"{prefix}{key}.")
        else:
            yield Difference(prefix + key, base[key], here[key])


def _of_predictions(base: Predictions, here: Predictions) -> Iterator[Difference]:
    """The scores on test whose difference has a paired interval, and the recall of each class."""
    sides = base, here
    for name, score in SCORES.items():
        if score.per_sample:
            yield _paired(f"test.{name}", *(score.per_sample(side.y_true, side.y_prob) for side in sides))
        elif name in COUNT_METRICS:
            before, after = (score.compute(side.y_true, side.y_prob) or 0.0 for side in sides)
            yield Difference(f"test.{name}", before, after, paired(name, here.y_true, base.y_prob, here.y_prob))
    is_correct = [correct(side.y_true, side.y_prob) for side in sides]
    for label, name in enumerate(here.classes):
        if (rows := here.y_true == label).any():
            recall = _paired(f"test.recall.{name}", *(values[rows] for values in is_correct))
            if len(here.classes) <= MANY_CLASSES or recall.verdict == "real":
                yield recall


def _paired(metric: str, base: NDArray[Any], here: NDArray[Any]) -> Difference:
    return Difference(metric, float(base.mean()), float(here.mean()), mean_interval(here - base))
