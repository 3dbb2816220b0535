"""The plan of a gate over seeds: the runs of two commits.

Each side runs by the code and the parameters of its commit, with `normalize.seed` and `train.seed` set alike. A run is
named by what decides its result, as in a study, so gates share runs across commits. Images that git does not keep are
those of the commit's `data/raw` in DVC's cache or remote: their folder may have changed since.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flows.repo.commands import run
from flows.results.sides import IncomparableError, Side, find_sides
from flows.runs.experiments import isolated_worktree
from flows.runs.inputs import check_checkout, check_inputs, parse_inputs
from flows.runs.trial import RAW, Trial, finished
from flows.study.plan import SEEDS, Origin, blobs_at, check_jobs, define_run, read_origin, read_text
from tasks.data.digests import compute_md5
from tasks.layouts.rules import shorten
from tasks.metrics.significance import MIN_PAIRS
from tasks.params import PARAMS_FILE, ParameterError
from tasks.params.document import validate


class Plan(NamedTuple):
    """Two sides and their trials: of base, of here, seed by seed."""

    base: Side
    here: Side
    trials: list[Trial]


def prepare(root: Path, base: str, here: str, seeds: int, jobs: int | None, on: str) -> Plan:
    """Check a gate's arguments, and plan its runs; no `here` is HEAD.

    Raises
    ------
    ParameterError, RuntimeError
        If an argument breaks a rule, or a side cannot run. Nothing has been run then.
    """
    if seeds < MIN_PAIRS:
        raise ParameterError(f"--seeds must be at least {MIN_PAIRS}, as fewer tell nothing; received {seeds}")
    check_jobs(jobs, on)
    check_checkout(root)
    sides = find_sides(root, base, here or "HEAD")
    if not here:
        check_inputs(root)
    _refuse_other_classes(*sides)
    planned = []
    for name, side in zip(("base", "here"), sides, strict=True):
        origin = read_origin(root, side.commit, f"{PARAMS_FILE} of {side.name}")
        try:
            validate(origin.params, f"{PARAMS_FILE} of {side.name}")
        except ParameterError as error:  # perhaps of another version
            remedy = "--seeds runs parameters of this version alone; leave it out, or choose a later commit"
            raise ParameterError(f"{error}; {remedy}") from error
        planned.append(_plan_side(root, name, side, origin, seeds, on))
    return Plan(*sides, [trial for pair in zip(*planned, strict=True) for trial in pair])


def _refuse_other_classes(*sides: Side) -> None:
    """Refuse committed predictions of other classes."""
    try:
        of_base, of_here = (set(side.read_predictions().class_names) for side in sides)
    except IncomparableError:  # lost: the runs will be compared
        return
    if of_base != of_here:
        received = f"{shorten(sorted(of_base ^ of_here))} on one side alone"
        raise IncomparableError(f"both sides must have the same classes; received {received}; choose another --base")


def _plan_side(root: Path, name: str, side: Side, origin: Origin, seeds: int, on: str) -> list[Trial]:
    """Plan a side's runs, and check the inputs of those to come."""
    paths, in_git = parse_inputs(read_text(root, side.commit, "dvc.yaml")), blobs_at(root, side.commit)
    from_raw = "images" in paths and paths["images"] not in in_git
    trials = []
    for seed in range(seeds):
        where = f"{PARAMS_FILE} of {side.name}"
        overrides, _, digest = define_run(origin, dict.fromkeys(SEEDS, seed), where, on == "machines")
        trials.append(Trial(name, seed, overrides, f"gate-seed{seed}-{digest}", side.commit, from_raw=from_raw))
    if on == "here" and not {trial.name for trial in trials} <= finished(root).keys():
        if from_raw:
            _fetch_images(root, side, origin.inputs["images"])
        if "backbone" in paths and paths["backbone"] not in in_git:
            _check_backbone(root / paths["backbone"], side, origin.inputs["backbone"])
    return trials


def _fetch_images(root: Path, side: Side, digest: str | None) -> None:
    """Bring a side's images into DVC's cache, or say they are lost."""
    rule = f"{RAW} of {side.name} must be in DVC's cache or remote, as git does not keep its images"
    if digest is None:
        raise IncomparableError(f"{rule}; dvc.lock of {side.name} has none; choose another commit")
    with isolated_worktree(root, {}, f"inputs-{side.commit[:12]}", side.commit) as checkout:
        with suppress(RuntimeError):  # what the cache has needs no remote, which may be away
            run(checkout, sys.executable, "-m", "dvc", "checkout", RAW)
            return
        try:
            run(checkout, sys.executable, "-m", "dvc", "pull", RAW)
        except RuntimeError as error:
            way = "`dvc push` where they are brings them to a remote"
            raise IncomparableError(f"{rule}; {way}; received: {error}") from error


def _check_backbone(path: Path, side: Side, digest: str | None) -> None:
    """Refuse another backbone than a side's, whose file git does not keep."""
    received = compute_md5(path) if path.is_file() else "no file"
    if received != digest:
        rule = f"{path} must be the backbone of {side.name}, whose MD5 is {digest or 'not recorded'}"
        raise IncomparableError(f"{rule}; received {received}; put that file back, or keep it in git")
