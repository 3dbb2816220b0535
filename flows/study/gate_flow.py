"""The Prefect flow of a gate over seeds: isolated runs."""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger

from flows.host.resources import default_jobs
from flows.repo.git import commit_of
from flows.results.sides import IncomparableError, Side
from flows.runs.experiments import remove_stale_worktrees
from flows.runs.trial import TRIAL_STAGES, Trial
from flows.study.flow import choose_executor, run_missing, warn_of_edits
from tasks.layouts.rules import shorten
from tasks.run.metadata import RUN_INFO, read_notes


@flow(name="gate", persist_result=False)
def gate(
    trials: list[Trial], may_differ_in_classes: bool, jobs: int | None = None, on: Literal["here", "machines"] = "here"
) -> list[tuple[str, str]]:
    """Run what is missing of both sides; return commits of experiments.

    They are pairs of base and here, one for each seed. Where the classes may differ, the first pair runs first, and the
    others only if they do not.

    Raises
    ------
    flows.results.sides.IncomparableError
        If runs failed, each of which is named, or the classes differ.
    """
    root, logger = Path.cwd(), get_run_logger()
    executor = choose_executor(on, jobs or default_jobs(), logger.info)
    remove_stale_worktrees(root)
    if trials[1].commit == commit_of(root, "HEAD"):
        warn_of_edits(root)
    notes = read_notes(root / RUN_INFO)
    if seconds := sum(notes[stage].get("seconds", 0) for stage in TRIAL_STAGES if stage in notes):
        logger.info("the last run in this folder took %.0f s", seconds)
    commits: dict[str, str] = {}
    failures: dict[str, str] = {}
    for part in (trials[:2], trials[2:]) if may_differ_in_classes else (trials,):
        unique = {trial.name: trial for trial in part}  # both sides share what is alike
        found, failed = run_missing(root, list(unique.values()), executor)
        commits, failures = commits | found, failures | failed
        if may_differ_in_classes and not failures:
            _refuse_other_classes(root, *(commits[trial.name] for trial in trials[:2]))
    lost = [trial for trial in trials if trial.name in failures]
    if lost:
        named = (
            f"{t.variant} seed {t.seed}: {failures[t.name].rpartition(f'seed {t.seed} failed: ')[2]}" for t in lost
        )
        rule = f"the verdict is unknown, as {len(lost)} of {len(trials)} runs failed; the same command repeats them"
        raise IncomparableError(f"{rule}: {'; '.join(named)}")
    names = [commits[trial.name] for trial in trials]
    return list(zip(names[::2], names[1::2], strict=True))


def _refuse_other_classes(root: Path, base: str, here: str) -> None:
    """Refuse experiments of other classes."""
    of_base, of_here = (set(Side(root, run, run).read_predictions().class_names) for run in (base, here))
    if of_base != of_here:
        only = {"base": of_base - of_here, "here": of_here - of_base}
        received = " and ".join(f"{shorten(sorted(names))} at {side} alone" for side, names in only.items() if names)
        raise IncomparableError(f"both sides must have the same classes; received {received}; choose another --base")
