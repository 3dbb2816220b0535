"""The study: variants × seeds, each an isolated run, and then what each technique does to the gap.

`python -m flows.study [--variants none,l2] [--seeds 3] [--set train.epochs=4] [--jobs 2] [--name few]`
or `prefect deployment run study/local`; with `--on machines` or `study/machines`, on all that have a worker.

Every run is kept as a DVC experiment whose name ends in a digest of its parameters, code and data. One that exists is
not run again, whichever commit it was made at, so a study that was killed finishes only what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
from filelock import FileLock
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from flows.cluster import status, sync
from flows.cluster.scheduler import run_on_workers
from flows.host.resources import default_jobs
from flows.runs import experiments
from flows.runs.processes import reraise_swallowed_signals
from flows.runs.trial import Ended, Trial, finished
from flows.study import host_report
from flows.study import report as study_report
from flows.study.eta import estimate
from flows.study.local import SCRATCH, on_this_machine
from flows.study.plan import OF_MACHINE, collect, describe_overrides, plan, shared_settings
from tasks.params import PARAMS_FILE, ParameterError, parse

REPORT = Path("reports/study")


class Place(NamedTuple):
    """Where the trials of a study are brought into being."""

    existing: Callable[[Path], dict[str, str]]  # experiments → commits
    run: Callable[[Path, list[Trial]], Generator[Ended | None]]
    estimate: Callable[[list[Trial]], str]


def place(root: Path, on: str, jobs: int, log: Callable[[str], None]) -> Place:
    """Choose this machine, with so many runs side by side, or all machines that the server has."""
    if on == "machines":
        return Place(sync.fetch_experiments, partial(run_on_workers, log=log), status.estimate_remaining)
    return Place(finished, partial(on_this_machine, jobs=jobs), partial(estimate, root / SCRATCH, jobs=jobs))


def run_trials(root: Path, missing: list[Trial], where: Place) -> dict[str, str]:
    """Run trials side by side; the failures, by the experiment's name. A failing one does not stop the rest."""
    logger = get_run_logger()
    failures: dict[str, str] = {}
    left = list(missing)
    progress: Any = None
    with suppress(httpx.HTTPError):  # a server that is away must not cost the trainings
        progress = create_progress_artifact(0.0, key="study-progress", description=f"{len(missing)} runs")
    with closing(where.run(root, missing)) as runs, reraise_swallowed_signals() as raise_again:
        for ended in runs:
            raise_again()
            if ended is None:  # a poll of the server
                continue
            trial = ended.trial
            left.remove(trial)
            if ended.failure:
                failures[trial.name] = ended.failure
                logger.error("%s seed %d failed: %s", trial.variant, trial.seed, ended.failure)
            done = len(missing) - len(left)
            logger.info("%d of %d: %s seed %d; %s", done, len(missing), trial.variant, trial.seed, where.estimate(left))
            if progress is not None:
                told = f"{done} of {len(missing)} runs"
                with suppress(httpx.HTTPError):
                    update_progress_artifact(progress, 100 * done / len(missing), description=told)
            raise_again()
    return failures


@flow(name="study", persist_result=False)
def study(
    variants: list[str] | None = None,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int | None = None,
    name: str | None = None,
    on: Literal["here", "machines"] = "here",
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
    name : str, optional
        Of a study with a report of its own, reports/study-NAME.
    on : str
        `here`, or `machines`: whichever have a worker of pool `study`; `jobs` is then each worker's own.

    Returns
    -------
    str
        The tables, as Markdown.
    """
    logger = get_run_logger()
    root, report = Path.cwd(), report_folder(name)
    _refuse_below_one(seeds=seeds, jobs=jobs)
    if on == "machines" and jobs is not None:
        raise ParameterError(f"jobs is for runs here; received {jobs} with on: machines, whose workers have their own")
    asked = parse(root / PARAMS_FILE)["study"]
    variants, settings, jobs = variants or asked["compared"], settings or {}, jobs or default_jobs()
    experiments.check_slots(root)
    trials = plan(root, variants, seeds or asked["seeds"], settings, are_fixed=on == "machines")
    where = place(root, on, jobs, logger.info)
    experiments.remove_stale_worktrees(root)
    if edits := experiments.uncommitted(root, report):
        logger.warning(
            "not in these runs, since they start from HEAD: uncommitted changes, but those of the study block, to\n%s",
            edits.rstrip(),
        )
    exist = where.existing(root)
    missing = [trial for trial in trials if trial.name not in exist]
    logger.info(
        "%d runs: %d exist already, %d to run, %s",
        len(trials),
        len(trials) - len(missing),
        len(missing),
        where.estimate(missing),
    )
    failures: dict[str, str] = {}
    if missing:
        failures = run_trials(root, missing, where)
        exist = where.existing(root)
        failures |= {
            trial.name: "its run ended well, and its experiment is not there"
            for trial in missing
            if trial.name not in exist and trial.name not in failures
        }
    text = write_report(root, report, trials, exist, failures, {*settings, *OF_MACHINE})
    create_markdown_artifact(text, key=report.name, description="What each technique does to the gap")
    logger.info("\n%s\n\nmade: %s", text, report)
    if failures:
        first = next(iter(failures.items()))
        raise RuntimeError(f"{len(failures)} of {len(trials)} runs failed, the first {first[0]}: {first[1]}")
    return text


def write_report(
    root: Path,
    report: Path,
    trials: list[Trial],
    exist: Mapping[str, str],
    failures: Mapping[str, str],
    named: set[str],
) -> str:
    """Write what the finished trials say; the parameters that are named stand at the top, where all have one value."""
    rows = collect(root, trials, exist)
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with FileLock(root / SCRATCH / "report.lock"):  # two studies may end together
        text = study_report.write(
            root / report,
            rows,
            trials[0].variant,
            shared_settings(trials, named),
            failures,
            describe_overrides(trials),
            {trial.variant: trial.swept for trial in trials if trial.swept},
        )
        host_report.write(root / report, rows, host_report.machines(root, exist))
    return text


def report_folder(name: str | None) -> Path:
    """The folder of a study's report.

    Raises
    ------
    tasks.params.ParameterError
        If the name is none of lower-case letters, digits and hyphens.
    """
    if name is not None and not re.fullmatch("[a-z0-9-]{1,80}", name):
        raise ParameterError(f"name must be of lower-case letters, digits and hyphens; received {name!r}")
    return REPORT.with_name(f"{REPORT.name}-{name}") if name else REPORT


def _refuse_below_one(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ParameterError(f"{name} must be at least 1; received {value}")
