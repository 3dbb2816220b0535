"""The study: variants × seeds, each a run apart, and then what each technique does to the gap.

`python -m flows.study [--variants none,l2] [--seeds 3] [--set train.epochs=4] [--jobs 2]`
or `prefect deployment run study/local`

Every run is kept as a DVC experiment whose name ends in a digest of its parameters, code and data. One that exists is
not run again, whichever commit it was made at, so a study that was killed finishes only what is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before Prefect is imported, which takes a second
    from flows import command_line

    sys.exit(command_line.study())

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import joblib
import psutil
from filelock import FileLock, Timeout
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from ruamel.yaml import YAML

from flows import experiments, study_report
from flows.git import at, git
from flows.processes import Place, end_running, ending, repro, signals_that_stay
from flows.summary import made_by
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import expand, override, validate

REPORT = Path("reports/study")
SCRATCH = Path(".dvc/tmp/study")
LIMIT_SECONDS = 24 * 3600.0
JOB_BYTES = 3 * 2**29  # of memory for a run: its training, dvc, and the evaluation that follows
CONTAINER_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
POLL_SECONDS = 0.2  # between looks for a free slot
SEEDS = ("normalize.seed", "train.seed")
IDENTITY = ("normalize", "model", "regularize", "train", "evaluate")  # blocks that determine a run


@dataclass(frozen=True)
class Trial:
    """One run: a variant with a seed, and the experiment that it is kept as."""

    variant: str
    seed: int
    overrides: dict[str, Any]
    name: str
    commit: str  # that it starts from


# --- What is to be run ---------------------------------------------------------------------------


def plan(root: Path, variants: list[str], seeds: int, settings: dict[str, Any]) -> list[Trial]:
    """The trials of a study, seed by seed, so that a study that is cut short has all variants of its first seeds.

    Raises
    ------
    tasks.params.ParameterError
        If a variant or a setting is unknown or breaks a rule.
    """
    here = parse(root / PARAMS_FILE)
    commit = git(root, "rev-parse", "HEAD").strip()
    at_head = parse_text(_read(root, commit, PARAMS_FILE), f"{PARAMS_FILE} at HEAD")
    code = code_at(root, commit)
    differences = {name: found for variant in variants for name, found in expand(here, variant).items()}
    base = here["study"]["base"]
    taken = {
        key: f"what variant {name} varies"
        for name, own in differences.items()
        for key in own
        if own[key] != base.get(key)
    }
    for key in taken.keys() & set(SEEDS):
        raise ParameterError(f"study.variants: {key}: is what a seed sets, so no variant can")
    taken |= dict.fromkeys(SEEDS, "what a seed sets")
    for key in settings:
        for other, what in taken.items():
            if _overlap(key, other):
                raise ParameterError(f"settings: {key}: is {what}, so it cannot be set for all runs")
    trials = []
    for seed in range(seeds):
        for variant, overrides in differences.items():
            chosen = {**overrides, **settings, **dict.fromkeys(SEEDS, seed)}
            effective = validate(override(at_head, chosen, "settings"), f"variant {variant}")
            if effective.train.precision == "auto":  # runs of two machines must not be paired across precisions
                chosen["train.precision"] = _precision_here(effective.train.device)
                effective = validate(override(at_head, chosen, "settings"), f"variant {variant}")
            if not effective.normalize.validation_fraction:
                raise ParameterError("a study needs normalize.validation_fraction above 0: it decides on validation")
            values = effective.model_dump(mode="json")
            identity = [{block: values[block] for block in IDENTITY}, values["download"]["digests"], code]
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
            label = re.sub(r"[^A-Za-z0-9-]+", "-", variant)
            trials.append(Trial(variant, seed, chosen, f"{label}-seed{seed}-{digest}", commit))
    return trials


def _overlap(key: str, other: str) -> bool:
    """Whether two keys are one, or one is a block that holds the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


@cache
def _precision_here(device: str) -> str:
    """What `train.precision: auto` stands for here; a process of its own asks, as flows load no TensorFlow."""
    code = f"from tasks import runtime; print(runtime.prepare({device!r}, precision='auto').precision)"
    root = Path(__file__).resolve().parents[1]
    return experiments.run(root, sys.executable, "-c", code).strip()


def code_at(root: Path, commit: str) -> dict[str, str]:
    """The digests of what a run depends on beside parameters and data: code, as dvc.yaml lists it, and libraries."""
    stages = YAML(typ="safe").load(_read(root, commit, "dvc.yaml"))["stages"]
    needed = {dep for stage in stages.values() for dep in stage.get("deps", [])} | {"dvc.yaml", "requirements.lock"}
    listed = git(root, "ls-tree", "-r", "-z", commit).split("\0")[:-1]
    blobs = {path: about.split()[2] for about, path in (line.split("\t", 1) for line in listed)}
    return {path: blobs[path] for path in sorted(needed) if path in blobs}


def _read(root: Path, commit: str, path: Path | str) -> str:
    """A file of a commit, as text."""
    content = at(root, commit, path)
    if content is None:
        raise RuntimeError(f"{path} must be in commit {commit[:7]}; received none; `git add {path} && git commit`")
    return content.decode()


def finished(root: Path) -> dict[str, str]:
    """The commits of all experiments of this repository, by name."""
    pattern = "refs/exps/??/*/*"  # DVC's scheme: the baseline commit in two parts, then the name
    listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)", pattern)
    return {ref.rsplit("/", 1)[1]: commit for ref, commit in (line.split() for line in listed.splitlines())}


def default_jobs() -> int:
    """One for each GPU; without one, for each two cores, as far as a container's quota and the memory allow."""
    return len(_gpus()) or max(min(joblib.cpu_count() // 2, _memory() // JOB_BYTES), 1)


def _memory() -> int:
    """The bytes that this process may use: the machine's, or what its container leaves of them."""
    limits: list[int] = [psutil.virtual_memory().total]
    for limit in CONTAINER_MEMORY:
        with suppress(OSError, ValueError):  # not in a container, or `max`
            limits.append(int(limit.read_text()))
    return min(limits)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (allowed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in allowed.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)  # noqa: S607
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]  # without a driver: an error
    return [str(number) for number in range(len(lines))]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# --- Running it ----------------------------------------------------------------------------------


@task(name="trial", task_run_name="{trial.variant} seed {trial.seed}", cache_policy=NO_CACHE, persist_result=False)
def run_trial(root: Path, trial: Trial, jobs: int) -> State[str]:
    """Bring one trial into being, unless it is there; the name of its experiment."""
    logger = get_run_logger()
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with _first_free([root / SCRATCH / f"{trial.name}.lock"]):  # another study may be at the same trial
        if trial.name in finished(root):
            return Completed(name="Cached", message=f"experiment {trial.name} exists", data=trial.name)
        with _slot(root, jobs) as (cores, variables):
            started = time.perf_counter()
            label = f"{trial.variant} seed {trial.seed}"
            with experiments.apart(root, trial.overrides, trial.name, trial.commit) as checkout:
                repro(Place(checkout), label, LIMIT_SECONDS, logger.info, cores=cores, variables=variables)
                experiments.save(checkout, trial.name)
            _remember(root, trial, time.perf_counter() - started)
    return Completed(message=f"kept as experiment {trial.name}", data=trial.name)


@contextmanager
def _slot(root: Path, jobs: int) -> Iterator[tuple[frozenset[int], dict[str, str]]]:
    """One of so many slots: its share of the cores, and variables that name its GPU.

    As locks of this folder, slots are shared by two studies of as many jobs.
    """
    cores, gpus = _cores(), _gpus()
    share = max(len(cores) // jobs, 1)
    threads = {"LOKY_MAX_CPU_COUNT": str(max(joblib.cpu_count() // jobs, 1))}  # a container's quota names no cores
    with _first_free([root / SCRATCH / f"slot-{number}.lock" for number in range(jobs)]) as number:
        first = number * share % len(cores)
        gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
        yield frozenset(cores[first : first + share]), threads | gpu


@contextmanager
def _first_free(locks: list[Path]) -> Iterator[int]:
    """Hold one of these locks, and give its number. A study that ends meanwhile stops waiting."""
    while not ending.is_set():
        for number, path in enumerate(locks):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield number
            finally:
                lock.release()
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the study was ended before this run began")


def _remember(root: Path, trial: Trial, seconds: float) -> None:
    """Note how long a trial took, for the next estimate."""
    path = root / SCRATCH / "seconds.json"
    with FileLock(root / SCRATCH / "seconds.lock"):
        known = {**_seconds(root), _kind(trial): round(seconds, 1)}
        path.with_suffix(".part").write_text(json.dumps(known))
        path.with_suffix(".part").replace(path)


def _seconds(root: Path) -> dict[str, float]:
    """How long trials took, by their kind; empty where nothing is known."""
    try:
        known: dict[str, float] = json.loads((root / SCRATCH / "seconds.json").read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return known


def _kind(trial: Trial) -> str:
    """What trials have in common that differ in their seed alone."""
    return trial.variant + json.dumps({key: value for key, value in trial.overrides.items() if key not in SEEDS})


def estimate(root: Path, missing: list[Trial], jobs: int) -> str:
    """How long the missing trials will take, from what earlier ones took."""
    known = _seconds(root)
    if not missing:
        return "nothing to run"
    timed = [known[_kind(trial)] for trial in missing if _kind(trial) in known]
    if not timed:
        return "no such run was timed here yet: an estimate follows the first"
    minutes = statistics.mean(timed) * math.ceil(len(missing) / jobs) / 60
    return f"about {minutes:.0f} minutes with {jobs} job{'s' if jobs > 1 else ''}"


@flow(name="trials", persist_result=False)
def run_trials(root: Path, missing: list[Trial], jobs: int) -> dict[str, str]:
    """Run trials side by side; the failures, by the experiment's name. A failing one does not stop the rest."""
    logger = get_run_logger()
    failures: dict[str, str] = {}
    left = list(missing)
    progress: Any = None
    try:
        with signals_that_stay() as raise_again:
            futures = {run_trial.submit(root, trial, jobs, return_state=False): trial for trial in missing}
            with suppress(httpx.HTTPError):  # a server that is away must not cost the trainings
                progress = create_progress_artifact(0.0, key="study-progress", description=f"{len(missing)} runs")
            raise_again()
            for future in as_completed(list(futures)):
                future.wait()  # its state may still be on its way
                trial = futures[future]
                left.remove(trial)
                if not future.state.is_completed():
                    failures[trial.name] = (future.state.message or "failed").splitlines()[0]
                    logger.error("%s seed %d failed: %s", trial.variant, trial.seed, failures[trial.name])
                done = len(missing) - len(left)
                soon = estimate(root, left, jobs)
                logger.info("%d of %d: %s seed %d; %s", done, len(missing), trial.variant, trial.seed, soon)
                if progress is not None:
                    told = f"{done} of {len(missing)} runs"
                    with suppress(httpx.HTTPError):
                        update_progress_artifact(progress, 100 * done / len(missing), description=told)
                raise_again()
    except BaseException:  # Ctrl-C and cancellation reach this thread alone, and the others must end too
        end_running()
        raise
    return failures


@flow(name="study", persist_result=False)
def study(
    variants: list[str] | None = None,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int | None = None,
) -> str:
    """Compare variants over seeds, and write reports/study.

    Parameters
    ----------
    variants : list of str, optional
        Names under `study.variants`, the baseline first; `a+b` is both together. Default: `study.compared`.
    seeds : int, optional
        How many, from 0. Default: `study.seeds`.
    settings : dict, optional
        Further parameters for all runs, such as {"train.epochs": 4}.
    jobs : int, optional
        Runs side by side; the cores are shared out among them. Default: one for each GPU, or for each two cores.

    Returns
    -------
    str
        The tables, as Markdown.
    """
    logger = get_run_logger()
    root = Path.cwd()
    _refuse_below_one(seeds=seeds, jobs=jobs)
    asked = parse(root / PARAMS_FILE)["study"]
    variants, settings, jobs = variants or asked["compared"], settings or {}, jobs or default_jobs()
    trials = plan(root, variants, seeds or asked["seeds"], settings)
    ending.clear()
    experiments.sweep(root)
    if edits := experiments.uncommitted(root, REPORT):
        logger.warning(
            "not in these runs, since they start from HEAD: uncommitted changes, but those of the study block, to\n%s",
            edits.rstrip(),
        )
    exist = finished(root)
    missing = [trial for trial in trials if trial.name not in exist]
    there = len(trials) - len(missing)
    logger.info(
        "%d runs: %d exist already, %d to run, %s", len(trials), there, len(missing), estimate(root, missing, jobs)
    )
    failures: dict[str, str] = {}
    if missing:
        runner: Any = ThreadPoolTaskRunner(max_workers=jobs)  # Prefect's own annotations do not fit each other
        side_by_side = run_trials.with_options(task_runner=runner)
        failures = side_by_side(root, missing, jobs)
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with FileLock(root / SCRATCH / "report.lock"):  # two studies may end together
        text = study_report.write(
            root / REPORT,
            collect(root, trials),
            trials[0].variant,
            {key: value for key, value in trials[0].overrides.items() if key in {*settings, "train.precision"}},
            failures,
            strengths(trials),
        )
    create_markdown_artifact(text, key="study", description="What each technique does to the gap")
    logger.info("\n%s\n\nmade: %s", text, REPORT)
    if failures:
        first = next(iter(failures.items()))
        raise RuntimeError(f"{len(failures)} of {len(trials)} runs failed, the first {first[0]}: {first[1]}")
    return text


def strengths(trials: list[Trial]) -> dict[str, str]:
    """What each variant sets differently from the baseline, in words: `dropout 0.5`."""
    baseline = trials[0].overrides
    return {
        trial.variant: ", ".join(
            f"{key.rpartition('.')[2]} {str(value).lower()}"  # true and null as in params.yaml
            for key, value in trial.overrides.items()
            if key not in SEEDS and value != baseline.get(key)
        )
        for trial in trials
    }


def _refuse_below_one(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ParameterError(f"{name} must be at least 1; received {value}")


def collect(root: Path, trials: list[Trial]) -> list[study_report.Row]:
    """What the finished trials achieved, read from their experiments."""
    exist = finished(root)
    (metrics_file,), (history_file,) = made_by(root, "metrics"), made_by(root, "plots")
    rows = []
    for trial in trials:
        if commit := exist.get(trial.name):
            metrics = json.loads(_read(root, commit, metrics_file))
            history = _read(root, commit, history_file)
            curve = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(history))]
            rows.append(
                study_report.Row(
                    trial.variant,
                    trial.seed,
                    len(curve),
                    metrics["train"]["accuracy"],
                    metrics["validation"]["accuracy"],
                    metrics["test"]["accuracy"],
                    metrics["generalization_gap"],
                    trial.name,
                    tuple(row["generalization_gap"] for row in curve),
                    tuple(row["validation_accuracy"] for row in curve),
                )
            )
    return rows
