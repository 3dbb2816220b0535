"""The plan of a study: its trials, their parameters, and their names.

A trial's name ends in a digest of its parameters, code, data and libraries. An experiment of that name is its result,
whichever commit it was made at.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from flows.host import capability
from flows.host.resources import default_jobs, run_resources
from flows.repo.git import git, read_blob
from flows.runs.inputs import READERS, check_checkout, check_inputs, parse_inputs, parse_variables, recorded_digest
from flows.runs.trial import TRIAL_STAGES, Trial
from tasks.datasets.packed import MANIFEST, Packed
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import expand, override, swept, validate
from tasks.run.libraries import LIBRARIES_FILE

RAW = Path("data/raw")
REPORT = Path("reports/study")
SEEDS = ("normalize.seed", "train.seed")
HOST_PARAMETERS = ("train.precision", "train.device", "train.threads")  # which a host decides where they are `auto`
CAPACITY = ("model.filters", "model.dense_units")
CNNS = ("notebook_cnn", "whitened_cnn")  # which do not start from pretrained weights
NETWORKS = {"model.activation": CNNS[1:], "model.filters": CNNS, "regularize.batch_norm": CNNS} | dict.fromkeys(
    ("model.dense_units", "model.pool_before_norm"), CNNS[:1]
)  # that a parameter acts on; the others act on every network
CODE_SUFFIXES = (".py", ".html")  # that .dvcignore lets a folder of code have
IDENTITY = ("normalize", "model", "regularize", "train", "evaluate")  # blocks that determine a run


class Origin(NamedTuple):
    """A commit that runs start from, and what decides their results."""

    commit: str
    params: dict[str, Any]
    inputs: dict[str, str | None]
    code: dict[str, str]


def prepare(
    variants: list[str] | None,
    seeds: int | None,
    settings: dict[str, Any] | None,
    jobs: int | None,
    name: str | None,
    on: str,
) -> list[Trial]:
    """Check a study's arguments in the current folder, and plan its trials.

    Its command line calls this before it imports Prefect, its flow for the trials.
    """
    root = Path.cwd()
    report_folder(name)
    if seeds is not None and seeds < 1:
        raise ParameterError(f"seeds must be at least 1; received {seeds}")
    check_jobs(jobs, on)
    check_checkout(root)
    check_inputs(root)
    defaults = parse(root / PARAMS_FILE)["study"]
    return plan(
        root, variants or defaults["compared"], seeds or defaults["seeds"], settings or {}, are_fixed=on == "machines"
    )


def check_jobs(jobs: int | None, on: str) -> None:
    """Refuse a number of runs side by side that cannot be."""
    if jobs is not None and jobs < 1:
        raise ParameterError(f"jobs must be at least 1; received {jobs}")
    if on == "machines" and jobs is not None:
        raise ParameterError(f"jobs must be left out on machines, whose workers have their own; received {jobs}")


def report_folder(name: str | None) -> Path:
    """Return the folder of a study's report."""
    if name is not None and not re.fullmatch("[a-z0-9-]{1,80}", name):
        raise ParameterError(f"name must be of lower-case letters, digits and hyphens; received {name!r}")
    return REPORT.with_name(f"{REPORT.name}-{name}") if name else REPORT


def plan(root: Path, variants: list[str], seeds: int, settings: dict[str, Any], are_fixed: bool = False) -> list[Trial]:
    """List the trials of a study, seed by seed.

    A study that is cut short then has all variants of its first seeds. With `are_fixed`, each trial gets the precision,
    device and threads that this host would choose, so that all hosts run it alike.
    """
    workspace = parse(root / PARAMS_FILE)
    origin = read_origin(root, git(root, "rev-parse", "HEAD").strip(), f"{PARAMS_FILE} at HEAD")
    n_images = len(Packed(root / RAW).files) if (root / RAW / MANIFEST).exists() else 0  # 0: unknown
    differences = {name: keys for variant in variants for name, keys in expand(workspace, variant).items()}
    parameters = {name: swept(workspace, variant) for variant in variants for name in expand(workspace, variant)}
    _refuse_reserved(settings, differences, workspace["study"]["base"])
    trials, scores = [], dict[str, str]()
    for seed in range(seeds):
        for variant, overrides in differences.items():
            chosen = {**overrides, **settings, **dict.fromkeys(SEEDS, seed)}
            chosen, values, digest = define_run(origin, chosen, f"variant {variant}", are_fixed)
            if not (values["normalize"]["validation_fraction"] or values["normalize"]["folds"]):
                raise ParameterError(
                    "a study needs normalize.validation_fraction above 0, or folds: it decides on validation"
                )
            if n_images and (wanted := values["normalize"]["train_images"] or 0) > n_images:
                key = "normalize.train_images"
                raise ParameterError(
                    f"{key} must be at most {n_images}, all images that there are; variant {variant} has {wanted}; add "
                    f"--set {key}=null, or write other numbers into study.variants"
                )
            scores[values["evaluate"]["headline"]] = variant
            if len(scores) > 1:
                received = " and ".join(f"{score} of {name}" for score, name in scores.items())
                raise ParameterError(f"a study judges by one evaluate.headline; received {received}")
            name = f"{re.sub(r'[^A-Za-z0-9-]+', '-', variant)}-seed{seed}-{digest}"
            trials.append(Trial(variant, seed, chosen, name, origin.commit, parameters[variant]))
    return trials


def read_origin(root: Path, commit: str, where: str) -> Origin:
    """Read a commit; `where` opens the message on its parameters."""
    params = parse_text(read_text(root, commit, PARAMS_FILE), where)
    return Origin(commit, params, inputs_at(root, commit), code_at(root, commit))


def define_run(
    origin: Origin, overrides: dict[str, Any], where: str, are_fixed: bool
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return a run's overrides without `auto`, all its parameters, and its digest."""
    overrides, values = _resolve(origin.params, overrides, where, are_fixed)
    identity = [{block: values[block] for block in IDENTITY}, origin.inputs, origin.code]
    return overrides, values, hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def _refuse_reserved(settings: dict[str, Any], differences: dict[str, dict[str, Any]], base: dict[str, Any]) -> None:
    """Refuse a setting for all runs that a variant or seed sets."""
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
        for other, owner in reserved.items():
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):  # equal, or one holds the other
                raise ParameterError(f"settings: {key}: is {owner}, so it cannot be set for all runs")


def _resolve(
    at_head: dict[str, Any], chosen: dict[str, Any], where: str, are_fixed: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a trial's overrides without `auto`, and all its parameters.

    `auto` becomes what it means on this host. Runs of two hosts must not be paired across precisions.
    """
    params = validate(override(at_head, chosen, "settings"), where)
    train = params.train
    resolved: dict[str, Any] = {}
    if train.precision == "auto":
        resolved["train.precision"] = _host_precision(train.device)
    if are_fixed:
        resolved = {
            "train.precision": train.precision,
            "train.device": _host_device() if train.device == "auto" else train.device,
            "train.threads": train.threads or _host_threads(),
            **resolved,
        }
    if resolved:
        chosen = {**chosen, **resolved}
        params = validate(override(at_head, chosen, "settings"), where)
    return chosen, params.model_dump(mode="json")


def _host_precision(device: str) -> str:
    """Return what `train.precision: auto` means on this host."""
    try:
        return capability.resolve_device(device)[1]
    except RuntimeError:
        raise ParameterError(
            "train.precision: auto is decided on this machine, which must have the device then; received train.device: "
            f"{device}; add --set train.precision=mixed_bfloat16, or float32"
        ) from None


def _host_device() -> str:
    return "cpu" if capability.resolve_device("auto")[0] == "cpu" else "gpu"


def _host_threads() -> int:
    """Return a job's share of the cores."""
    return int(run_resources(0, default_jobs()).variables["LOKY_MAX_CPU_COUNT"])


def code_at(root: Path, commit: str) -> dict[str, str]:
    """Return a trial's commands, variables, digests of code, and versions of libraries."""
    graph = read_text(root, commit, "dvc.yaml")
    all_stages = parse_text(graph, "dvc.yaml").get("stages") or {}
    if lost := [name for name in TRIAL_STAGES if name not in all_stages]:
        raise RuntimeError(f"dvc.yaml of commit {commit[:7]} must have stage {lost[0]}; received none of this name")
    stages = {name: all_stages[name] for name in TRIAL_STAGES}
    own = {name: value for name, value in parse_variables(graph).items() if name not in READERS}
    used = {f"${{{name}}}": str(value) for name, value in own.items() if f"${{{name}" in str(stages)}
    needed = {*used.values(), *(dep for stage in stages.values() for dep in stage.get("deps", []))}
    commands = {name: stage["cmd"] for name, stage in stages.items()}
    code = {
        path: blob
        for path, blob in sorted(blobs_at(root, commit).items())
        if path in needed or (str(Path(path).parent) in needed and path.endswith(CODE_SUFFIXES))
    }
    files = [entry for stage in stages.values() for entry in stage.get("params", []) if isinstance(entry, dict)]
    libraries = {name for entry in files for name in entry.get(str(LIBRARIES_FILE), [])}
    versions = parse_text(read_text(root, commit, LIBRARIES_FILE), str(LIBRARIES_FILE)) if libraries else {}
    return {**commands, **code, **used, **{name: str(versions.get(name)) for name in sorted(libraries)}}


def inputs_at(root: Path, commit: str) -> dict[str, str | None]:
    """Return the digests of a commit's images and backbone."""
    blobs, lock = blobs_at(root, commit), read_blob(root, commit, "dvc.lock")
    paths = parse_inputs(read_text(root, commit, "dvc.yaml"))
    return {name: blobs.get(path) or recorded_digest(lock, name, path) for name, path in paths.items()}


def read_text(root: Path, commit: str, path: Path | str) -> str:
    """Read a file of a commit as text."""
    content = read_blob(root, commit, path)
    if content is None:
        raise RuntimeError(f"{path} must be in commit {commit[:7]}; received none; `git add {path} && git commit`")
    return content.decode()


def blobs_at(root: Path, commit: str) -> dict[str, str]:
    """Return the blobs of files, not of links, whose targets may change."""
    entries = [line.split("\t", 1) for line in git(root, "ls-tree", "-r", "-z", commit).split("\0")[:-1]]
    return {path: about.split()[2] for about, path in entries if about.startswith("100")}


def describe_overrides(trials: list[Trial]) -> dict[str, str]:
    """Describe what each variant sets differently from the baseline: `dropout 0.5`."""
    return {  # true and null as in params.yaml
        variant: ", ".join(f"{key.rpartition('.')[2]} {str(value).lower()}" for key, value in own.items())
        for variant, own in _differences(trials).items()
    }


def _differences(trials: list[Trial]) -> dict[str, dict[str, Any]]:
    """Return what differs from the baseline and acts on the network."""
    baseline = trials[0].overrides
    return {
        trial.variant: {
            key: value
            for key, value in trial.overrides.items()
            if key not in SEEDS and value != baseline.get(key) and _acts(key, trial.overrides)
        }
        for trial in trials
    }


def _acts(key: str, overrides: dict[str, Any]) -> bool:
    """Tell whether a parameter acts on the network that is trained."""
    if overrides.get("model.trainable") == "head" and key.startswith(("regularize.", "train.")):
        return key in ("train.class_weight", *HOST_PARAMETERS)
    network = overrides.get("model.network")
    return network is None or network in NETWORKS.get(key, (network,))


def question(trials: list[Trial], score: str = "accuracy") -> str:
    """Ask what a study compares: its title."""
    if swept := sorted({trial.swept for trial in trials if trial.swept}):
        return f"What do the values of {' and '.join(swept)} change?"
    first, *others = (differences := _differences(trials))
    if all(key.startswith("regularize.") or key in CAPACITY for own in differences.values() for key in own):
        return f"What closes the gap between training and validation {score.replace('_', ' ')}?"
    return f"What do {', '.join(others)} change, compared with {first}?"


def shared_settings(trials: list[Trial], keys: set[str]) -> dict[str, Any]:
    """Return the values of some parameters, where all trials have the same."""
    first, *others = (trial.overrides for trial in trials)
    return {
        key: value
        for key, value in first.items()
        if key in keys and all(key in other and other[key] == value for other in others)
    }
