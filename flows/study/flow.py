"""The study as a Prefect flow: variants × seeds, each run isolated.

`python -m flows.study [--variants none,l2] [--seeds 3] [--set train.epochs=4] [--jobs 2] [--name few]`
or `prefect deployment run study/local`; with `--on machines` or `study/machines`, on all that have a worker.

Every run is kept as a DVC experiment whose name ends in a digest of its parameters, code and data. One that exists is
not run again, whichever commit it was made at, so a study that was killed finishes only what is missing.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
from filelock import FileLock
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from flows.host.resources import default_jobs
from flows.host.signals import reraise_swallowed_signals
from flows.runs.experiments import remove_stale_worktrees, uncommitted
from flows.runs.trial import Ended, Trial, finished
from flows.study.eta import estimate
from flows.study.host_report import read_hosts, write_hosts
from flows.study.local import SCRATCH, run_locally
from flows.study.plan import HOST_PARAMETERS, describe_overrides, prepare, report_folder, shared_settings
from flows.study.report import Context, write_report
from flows.study.results import collect


class Executor(NamedTuple):
    """A way to run trials: on this machine, or on the pool's."""

    existing: Callable[[Path], dict[str, str]]  # experiments → commits
    run: Callable[[Path, list[Trial]], Generator[Ended | None]]
    estimate: Callable[[list[Trial]], str]


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
    trials = prepare(variants, seeds, settings, jobs, name, on)
    executor = choose_executor(root, on, jobs or default_jobs(), logger.info)
    remove_stale_worktrees(root)
    if edits := uncommitted(root, report):
        logger.warning(
            "not in these runs, since they start from HEAD: uncommitted changes, but those of the study block, to\n%s",
            edits.rstrip(),
        )
    commits, failures = run_missing(root, trials, executor)
    context = Context(
        settings=shared_settings(trials, {*(settings or {}), *HOST_PARAMETERS}),
        failures=failures,
        strengths=describe_overrides(trials),
        swept={trial.variant: trial.swept for trial in trials if trial.swept},
    )
    text = write_reports(root, report, trials, commits, context)
    create_markdown_artifact(text, key=report.name, description="What each technique does to the gap")
    logger.info("\n%s\n\nmade: %s", text, report)
    if failures:
        first, reason = next(iter(failures.items()))
        raise RuntimeError(f"{len(failures)} of {len(trials)} runs failed, the first {first}: {reason}")
    return text


def choose_executor(root: Path, on: str, jobs: int, log: Callable[[str], None]) -> Executor:
    """Choose this machine, or all machines that the server has."""
    if on == "machines":
        from flows.cluster import scheduler, status, sync  # which a study on this machine never needs

        return Executor(sync.fetch_experiments, partial(scheduler.run_on_workers, log=log), status.estimate_remaining)
    return Executor(finished, partial(run_locally, jobs=jobs), partial(estimate, root / SCRATCH, jobs=jobs))


def run_missing(root: Path, trials: list[Trial], executor: Executor) -> tuple[dict[str, str], dict[str, str]]:
    """Run the trials without an experiment; return commits and failures, by experiment."""
    commits = executor.existing(root)
    missing = [trial for trial in trials if trial.name not in commits]
    exist, remaining = len(trials) - len(missing), executor.estimate(missing)
    get_run_logger().info("%d runs: %d exist already, %d to run, %s", len(trials), exist, len(missing), remaining)
    if not missing:
        return commits, {}
    failures = run_trials(root, missing, executor)
    commits = executor.existing(root)
    lost = [trial.name for trial in missing if trial.name not in commits and trial.name not in failures]
    return commits, failures | dict.fromkeys(lost, "its run ended well, but its experiment is missing")


def run_trials(root: Path, missing: list[Trial], executor: Executor) -> dict[str, str]:
    """Run trials, failing ones included, and return failures by experiment."""
    logger = get_run_logger()
    failures: dict[str, str] = {}
    left = list(missing)
    show_progress = _progress(len(missing))
    with closing(executor.run(root, missing)) as runs, reraise_swallowed_signals() as raise_again:
        for ended in runs:
            raise_again()
            if ended is None:  # no trial ended since the last poll
                continue
            trial = ended.trial
            left.remove(trial)
            if ended.failure:
                failures[trial.name] = ended.failure
                logger.error("%s seed %d failed: %s", trial.variant, trial.seed, ended.failure)
            done, remaining = len(missing) - len(left), executor.estimate(left)
            logger.info("%d of %d: %s seed %d; %s", done, len(missing), trial.variant, trial.seed, remaining)
            show_progress(done)
            raise_again()
    return failures


def _progress(total: int) -> Callable[[int], None]:
    """Make a progress artifact, and return a function that updates it."""
    artifact: Any = None
    with suppress(httpx.HTTPError):  # a server that is away must not cost the trainings
        artifact = create_progress_artifact(0.0, key="study-progress", description=f"{total} runs")

    def show(done: int) -> None:
        if artifact is not None:
            with suppress(httpx.HTTPError):
                update_progress_artifact(artifact, 100 * done / total, description=f"{done} of {total} runs")

    return show


def write_reports(root: Path, report: Path, trials: list[Trial], commits: Mapping[str, str], context: Context) -> str:
    """Write the report of the finished trials, and that of their hosts."""
    rows = collect(root, trials, commits)
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with FileLock(root / SCRATCH / "report.lock"):  # two studies may end together
        text = write_report(root / report, rows, trials[0].variant, context)
        write_hosts(root / report, rows, read_hosts(root, commits))
    return text
