"""The study: variants × seeds, each an isolated run, and then what each technique does to the gap.

`python -m flows.study [--variants none,l2] [--seeds 3] [--set train.epochs=4] [--jobs 2] [--name few]`
or `prefect deployment run study/local`

Every run is kept as a DVC experiment whose name ends in a digest of its parameters, code and data. One that exists is
not run again, whichever commit it was made at, so a study that was killed finishes only what is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before Prefect is imported, which takes a second
    from flows import command_line

    sys.exit(command_line.study())

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import experiments, study_report
from flows.estimates import estimate, remember
from flows.processes import Checkout, repro, reraise_swallowed_signals, shutting_down, terminate_all
from flows.shares import default_jobs
from flows.slots import acquire_any, slot
from flows.trials import Trial, collect, describe_overrides, finished, plan, shared_settings
from tasks.params import PARAMS_FILE, ParameterError, parse

REPORT = Path("reports/study")
SCRATCH = Path(".dvc/tmp/study")
LIMIT_SECONDS = 24 * 3600.0


@task(name="trial", task_run_name="{trial.variant} seed {trial.seed}", cache_policy=NO_CACHE, persist_result=False)
def run_trial(root: Path, trial: Trial, jobs: int) -> State[str]:
    """Bring one trial into being, unless it is there; the name of its experiment."""
    logger = get_run_logger()
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with acquire_any([root / SCRATCH / f"{trial.name}.lock"]):  # another study may be at the same trial
        if trial.name in finished(root):
            return Completed(name="Cached", message=f"experiment {trial.name} exists", data=trial.name)
        with slot(root / SCRATCH, jobs) as (cores, variables):
            started = time.perf_counter()
            label = f"{trial.variant} seed {trial.seed}"
            with experiments.isolated_worktree(root, trial.overrides, trial.name, trial.commit) as checkout:
                repro(Checkout(checkout), label, LIMIT_SECONDS, logger.info, cores=cores, variables=variables)
                experiments.save(checkout, trial.name)
            remember(root / SCRATCH, trial, time.perf_counter() - started)
    return Completed(message=f"kept as experiment {trial.name}", data=trial.name)


@flow(name="trials", persist_result=False)
def run_trials(root: Path, missing: list[Trial], jobs: int) -> dict[str, str]:
    """Run trials side by side; the failures, by the experiment's name. A failing one does not stop the rest."""
    logger = get_run_logger()
    failures: dict[str, str] = {}
    left = list(missing)
    progress: Any = None
    try:
        with reraise_swallowed_signals() as raise_again:
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
                soon = estimate(root / SCRATCH, left, jobs)
                logger.info("%d of %d: %s seed %d; %s", done, len(missing), trial.variant, trial.seed, soon)
                if progress is not None:
                    told = f"{done} of {len(missing)} runs"
                    with suppress(httpx.HTTPError):
                        update_progress_artifact(progress, 100 * done / len(missing), description=told)
                raise_again()
    except BaseException:  # Ctrl-C and cancellation reach this thread alone, and the others must end too
        terminate_all()
        raise
    return failures


@flow(name="study", persist_result=False)
def study(
    variants: list[str] | None = None,
    seeds: int | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int | None = None,
    name: str | None = None,
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

    Returns
    -------
    str
        The tables, as Markdown.
    """
    logger = get_run_logger()
    root, report = Path.cwd(), report_folder(name)
    _refuse_below_one(seeds=seeds, jobs=jobs)
    asked = parse(root / PARAMS_FILE)["study"]
    variants, settings, jobs = variants or asked["compared"], settings or {}, jobs or default_jobs()
    experiments.check_slots(root)
    trials = plan(root, variants, seeds or asked["seeds"], settings)
    shutting_down.clear()
    experiments.remove_stale_worktrees(root)
    if edits := experiments.uncommitted(root, report):
        logger.warning(
            "not in these runs, since they start from HEAD: uncommitted changes, but those of the study block, to\n%s",
            edits.rstrip(),
        )
    exist = finished(root)
    missing = [trial for trial in trials if trial.name not in exist]
    n_existing = len(trials) - len(missing)
    logger.info(
        "%d runs: %d exist already, %d to run, %s",
        len(trials),
        n_existing,
        len(missing),
        estimate(root / SCRATCH, missing, jobs),
    )
    failures: dict[str, str] = {}
    if missing:
        runner: Any = ThreadPoolTaskRunner(max_workers=jobs)  # Prefect's own annotations do not fit each other
        side_by_side = run_trials.with_options(task_runner=runner)
        failures = side_by_side(root, missing, jobs)
    (root / SCRATCH).mkdir(parents=True, exist_ok=True)
    with FileLock(root / SCRATCH / "report.lock"):  # two studies may end together
        text = study_report.write(
            root / report,
            collect(root, trials),
            trials[0].variant,
            shared_settings(trials, {*settings, "train.precision"}),
            failures,
            describe_overrides(trials),
            {trial.variant: trial.swept for trial in trials if trial.swept},
        )
    create_markdown_artifact(text, key=report.name, description="What each technique does to the gap")
    logger.info("\n%s\n\nmade: %s", text, report)
    if failures:
        first = next(iter(failures.items()))
        raise RuntimeError(f"{len(failures)} of {len(trials)} runs failed, the first {first[0]}: {first[1]}")
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
