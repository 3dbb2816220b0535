"""Trials: what a study runs, under which names, and what the finished ones achieved.

A trial's name ends in a digest of its parameters, code, data and libraries. An experiment of that name is its result,
whichever commit it was made at.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.host import capability
from flows.host.resources import default_jobs, run_resources
from flows.repo.git import git, read_blob
from flows.repo.graph import artifact
from flows.runs import experiments
from flows.runs.trial import TRIAL_STAGES, Trial
from flows.study import report
from tasks.device.precision import precision
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import expand, override, swept, validate
from tasks.run.libraries import LIBRARIES_FILE

SEEDS = ("normalize.seed", "train.seed")
OF_MACHINE = ("train.precision", "train.device", "train.threads")  # what a machine decides where they do not
CODE_SUFFIXES = (".py", ".html")  # that .dvcignore lets a folder of code have
IDENTITY = ("normalize", "model", "regularize", "train", "evaluate")  # blocks that determine a run


def plan(root: Path, variants: list[str], seeds: int, settings: dict[str, Any], are_fixed: bool = False) -> list[Trial]:
    """List the trials of a study, seed by seed.

    A study that is cut short then has all variants of its first seeds.

    Parameters
    ----------
    are_fixed : bool
        Whether what a machine decides (precision, device, threads) is written into each trial as this one decides it,
        so that all machines do the same.

    Raises
    ------
    tasks.params.ParameterError
        If a variant or a setting is unknown or breaks a rule.
    """
    here = parse(root / PARAMS_FILE)
    commit = git(root, "rev-parse", "HEAD").strip()
    at_head = parse_text(_read(root, commit, PARAMS_FILE), f"{PARAMS_FILE} at HEAD")
    code, slots = code_at(root, commit), slots_at(root, commit)
    differences = {name: found for variant in variants for name, found in expand(here, variant).items()}
    parameters = {name: swept(here, variant) for variant in variants for name in expand(here, variant)}
    _refuse_reserved(settings, differences, here["study"]["base"])
    trials = []
    for seed in range(seeds):
        for variant, overrides in differences.items():
            chosen = {**overrides, **settings, **dict.fromkeys(SEEDS, seed)}
            chosen, values = _effective(at_head, chosen, variant, are_fixed)
            identity = [{block: values[block] for block in IDENTITY}, slots, code]
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
            label = re.sub(r"[^A-Za-z0-9-]+", "-", variant)
            name = f"{label}-seed{seed}-{digest}"
            trials.append(Trial(variant, seed, chosen, name, commit, parameters[variant]))
    return trials


def _refuse_reserved(settings: dict[str, Any], differences: dict[str, dict[str, Any]], base: dict[str, Any]) -> None:
    """Refuse a setting of all runs that a variant or a seed sets, too."""
    reserved = {
        key: f"what variant {name} varies"
        for name, own in differences.items()
        for key in own
        if own[key] != base.get(key)
    }
    for key in reserved.keys() & set(SEEDS):
        raise ParameterError(f"study.variants: {key}: is what a seed sets, so no variant can")
    reserved |= dict.fromkeys(SEEDS, "what a seed sets")
    for key in settings:
        for other, what in reserved.items():
            if _overlap(key, other):
                raise ParameterError(f"settings: {key}: is {what}, so it cannot be set for all runs")


def _overlap(key: str, other: str) -> bool:
    """Whether two keys are one, or one is a block that holds the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _effective(
    at_head: dict[str, Any], chosen: dict[str, Any], variant: str, are_fixed: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The overrides of a trial with the precision that `auto` means here, and all its parameters.

    Runs of two machines must not be paired across precisions.
    """
    effective = validate(override(at_head, chosen, "settings"), f"variant {variant}")
    train = effective.train
    meant: dict[str, Any] = {}
    if train.precision == "auto":
        by_network = precision(effective.model, train)
        meant["train.precision"] = _precision_here(train.device) if by_network == "auto" else by_network
    if are_fixed:
        meant = {
            "train.precision": train.precision,
            "train.device": _device_here() if train.device == "auto" else train.device,
            "train.threads": train.threads or _threads_here(),
            **meant,
        }
    if meant:
        chosen = {**chosen, **meant}
        effective = validate(override(at_head, chosen, "settings"), f"variant {variant}")
    if not effective.normalize.validation_fraction:
        raise ParameterError("a study needs normalize.validation_fraction above 0: it decides on validation")
    return chosen, effective.model_dump(mode="json")


def _precision_here(device: str) -> str:
    """Ask what `train.precision: auto` means on this machine."""
    try:
        return capability.resolve_device(device)[1]
    except RuntimeError:
        raise ParameterError(
            "train.precision: auto is decided on this machine, which must have the device then; received train.device: "
            f"{device}; add --set train.precision=mixed_bfloat16, or float32"
        ) from None


def _device_here() -> str:
    """Ask what `train.device: auto` means on this machine: cpu or gpu."""
    return "cpu" if capability.resolve_device("auto")[0] == "cpu" else "gpu"


def _threads_here() -> int:
    """Count the threads that `train.threads: 0` means in a study on this machine, by its share of the cores."""
    return int(run_resources(0, default_jobs()).variables["LOKY_MAX_CPU_COUNT"])


def code_at(root: Path, commit: str) -> dict[str, str]:
    """What a trial's stages are at a commit: commands, digests of code, versions of libraries."""
    listed_stages = parse_text(_read(root, commit, "dvc.yaml"), "dvc.yaml")["stages"]
    stages = {name: listed_stages[name] for name in TRIAL_STAGES}
    needed = {dep for stage in stages.values() for dep in stage.get("deps", [])}
    blobs = _blobs(root, commit)
    code = {name: stage["cmd"] for name, stage in stages.items()}
    code |= {
        path: blob
        for path, blob in sorted(blobs.items())
        if path in needed or (str(Path(path).parent) in needed and path.endswith(CODE_SUFFIXES))
    }
    listed = {name for stage in stages.values() for name in _libraries(stage)}
    versions = parse_text(_read(root, commit, LIBRARIES_FILE), str(LIBRARIES_FILE)) if listed else {}
    return {**code, **{name: str(versions.get(name)) for name in sorted(listed)}}


def _libraries(stage: dict[str, Any]) -> list[str]:
    """The libraries that a stage of dvc.yaml lists."""
    files = [entry for entry in stage.get("params", []) if isinstance(entry, dict)]
    return [name for entry in files for name in entry.get(str(LIBRARIES_FILE), [])]


def slots_at(root: Path, commit: str) -> dict[str, str | None]:
    """The digests of the images and the backbone of a commit: of files that git has, or as dvc.lock has them."""
    blobs, lock = _blobs(root, commit), read_blob(root, commit, "dvc.lock")
    named = experiments.slots_in(_read(root, commit, "dvc.yaml"))
    return {slot: blobs.get(path) or experiments.recorded(lock, slot, path) for slot, path in named.items()}


def _blobs(root: Path, commit: str) -> dict[str, str]:
    """The blobs of the files of a commit; not of links, whose targets may change."""
    listed = [line.split("\t", 1) for line in git(root, "ls-tree", "-r", "-z", commit).split("\0")[:-1]]
    return {path: about.split()[2] for about, path in listed if about.startswith("100")}


def _read(root: Path, commit: str, path: Path | str) -> str:
    """Read a file of a commit as text."""
    content = read_blob(root, commit, path)
    if content is None:
        raise RuntimeError(f"{path} must be in commit {commit[:7]}; received none; `git add {path} && git commit`")
    return content.decode()


def describe_overrides(trials: list[Trial]) -> dict[str, str]:
    """Say what each variant sets differently from the baseline: `dropout 0.5`."""
    baseline = trials[0].overrides
    return {
        trial.variant: ", ".join(
            f"{key.rpartition('.')[2]} {str(value).lower()}"  # true and null as in params.yaml
            for key, value in trial.overrides.items()
            if key not in SEEDS and value != baseline.get(key)
        )
        for trial in trials
    }


def shared_settings(trials: list[Trial], keys: set[str]) -> dict[str, Any]:
    """The values of some parameters, as far as all trials have the same one."""
    first, *others = (trial.overrides for trial in trials)
    return {
        key: value
        for key, value in first.items()
        if key in keys and all(key in other and other[key] == value for other in others)
    }


def collect(root: Path, trials: list[Trial], exist: Mapping[str, str]) -> list[report.Row]:
    """Read the results of the finished trials from their experiments, whose commits are given by name."""
    metrics_file, history_file = artifact(root, "metrics"), artifact(root, "history")
    rows = []
    for trial in trials:
        if commit := exist.get(trial.name):
            metrics = json.loads(_read(root, commit, metrics_file))
            history = _read(root, commit, history_file)
            curve = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(history))]
            rows.append(
                report.Row(
                    trial.variant,
                    trial.seed,
                    len(curve),
                    metrics["train"]["accuracy"],
                    metrics["validation"]["accuracy"],
                    metrics["test"]["accuracy"],
                    round(metrics["train"]["accuracy"] - metrics["validation"]["accuracy"], 6),  # not of the headline
                    trial.name,
                    tuple(row["generalization_gap"] for row in curve),
                    tuple(row["validation_accuracy"] for row in curve),
                )
            )
    return rows
