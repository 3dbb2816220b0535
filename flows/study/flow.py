"""The study as a Prefect flow: variants × seeds, each run isolated.

A run whose experiment exists is not run again, so a study that was killed finishes only what is missing.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows.host.resources import default_jobs
from flows.host.signals import reraise_swallowed_signals
from flows.runs.experiments import WORKTREES, remove_stale_worktrees, uncommitted
from flows.runs.processes import REFUSED, StageFailedError
from flows.runs.trial import Ended, Trial, finished
from flows.study.host_report import write_hosts
from flows.study.kept import Context
from flows.study.local import run_locally
from flows.study.plan import HOST_PARAMETERS, describe_overrides, prepare, question, report_folder, shared_settings
from flows.study.report import write_report
from flows.study.results import collect


class Executor(NamedTuple):
    """A way to run trials: on this machine, or on the pool's."""

    existing: Callable[[Path], dict[str, str]]  # experiments → commits
    run: Callable[[Path, list[Trial]], Generator[Ended | None]]


@flow(name="study", persist_result=False)
def study(
    variants: list[str] | None = None,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int | None = None,
    name: str | None = None,
    on: Literal["here", "machines"] = "here",
) -> str:
    """Compare variants over seeds, write reports/study, and return its tables.

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
    """
    logger = get_run_logger()
    root, report = Path.cwd(), report_folder(name)
    trials = prepare(variants, seeds, settings, jobs, name, on)
    executor = choose_executor(on, jobs or default_jobs(), logger.info)
    remove_stale_worktrees(root)
    warn_of_edits(root, report)
    commits, failures = run_missing(root, trials, executor)
    rows = collect(root, trials, commits)
    context = Context(
        question=question(trials, *{row.score for row in rows}),
        settings=shared_settings(trials, {*(settings or {}), *HOST_PARAMETERS}),
        failures=failures,
        strengths=describe_overrides(trials),
        swept={trial.variant: trial.swept for trial in trials if trial.swept},
    )
    with FileLock(root / WORKTREES / ".report.lock"):  # two studies may end together
        text = write_report(root / report, rows, trials[0].variant, context)
        write_hosts(root / report, rows)
    create_markdown_artifact(text, key=report.name, description="What each technique does to the gap")
    use = "`python -m flows.start --variant NAME` writes a variant into params.yaml"
    logger.info("\n%s\n\nmade: %s\n%s", text, report, use)
    if failures:
        first, reason = next(iter(failures.items()))
        raise RuntimeError(f"{len(failures)} of {len(trials)} runs failed, the first {first}: {reason}")
    return text


def warn_of_edits(root: Path, *ignored: Path) -> None:
    """Log a warning of uncommitted edits, which are in no run."""
    if edits := uncommitted(root, *ignored):
        text = "not in these runs, since they start from HEAD: uncommitted changes to\n%s"
        get_run_logger().warning(text, edits.rstrip())


def choose_executor(on: str, jobs: int, log: Callable[[str], None]) -> Executor:
    """Choose this machine, or all machines that the server has."""
    if on == "machines":
        from flows.cluster import scheduler, sync  # which a study on this machine never needs

        return Executor(sync.fetch_experiments, partial(scheduler.run_on_workers, log=log))
    return Executor(finished, partial(run_locally, jobs=jobs))


def run_missing(root: Path, trials: list[Trial], executor: Executor) -> tuple[dict[str, str], dict[str, str]]:
    """Run the trials without an experiment; return commits and failures, by experiment."""
    commits = executor.existing(root)
    missing = [trial for trial in trials if trial.name not in commits]
    exist = len(trials) - len(missing)
    get_run_logger().info("%d runs: %d exist already, %d to run", len(trials), exist, len(missing))
    if not missing:
        return commits, {}
    failures = run_trials(root, missing, executor)
    commits = executor.existing(root)
    lost = [trial.name for trial in missing if trial.name not in commits and trial.name not in failures]
    return commits, failures | dict.fromkeys(lost, "its run ended well, but its experiment is missing")


def run_trials(root: Path, missing: list[Trial], executor: Executor) -> dict[str, str]:
    """Run trials, failing ones included, and return failures by experiment.

    If the first is refused before it trains, the study ends: others would be refused for the same reason.
    """
    logger, started = get_run_logger(), time.monotonic()
    failures: dict[str, str] = {}
    done = 0
    with closing(executor.run(root, missing)) as runs, reraise_swallowed_signals() as raise_again:
        for ended in runs:
            raise_again()
            if ended is None:  # no trial ended since the last poll
                continue
            trial = ended.trial
            if ended.failure:
                failures[trial.name] = ended.failure
                if REFUSED in ended.failure and not done:
                    reason = ended.failure.partition(f"{REFUSED}: ")[2]
                    first = f"{trial.variant} seed {trial.seed}"
                    raise StageFailedError(
                        f"the {flow_run.flow_name} was ended, as its first run, {first}, {REFUSED}: {reason}"
                    )
                logger.error("%s seed %d failed: %s", trial.variant, trial.seed, ended.failure)
            done += 1
            minutes = math.ceil((time.monotonic() - started) / done * (len(missing) - done) / 60)
            progress = "%d of %d: %s seed %d; about %d min left"
            logger.info(progress, done, len(missing), trial.variant, trial.seed, minutes)
            raise_again()
    return failures
