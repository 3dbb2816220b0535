"""The Prefect flow of a gate over seeds: isolated runs."""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger

from flows.host.resources import default_jobs
from flows.repo.git import commit_of
from flows.results.sides import IncomparableError
from flows.runs.experiments import remove_stale_worktrees
from flows.runs.trial import Trial
from flows.study.flow import choose_executor, run_missing, warn_of_edits


@flow(name="gate", persist_result=False)
def gate(
    trials: list[Trial], jobs: int | None = None, on: Literal["here", "machines"] = "here"
) -> list[tuple[str, str]]:
    """Run what is missing; return each seed's experiments, of base and here.

    Raises
    ------
    flows.results.sides.IncomparableError
        If runs failed, each of which is named.
    """
    root = Path.cwd()
    executor = choose_executor(on, jobs or default_jobs(), get_run_logger().info)
    remove_stale_worktrees(root)
    if trials[1].commit == commit_of(root, "HEAD"):
        warn_of_edits(root)
    unique = {trial.name: trial for trial in trials}  # both sides share what is alike
    commits, failures = run_missing(root, list(unique.values()), executor)
    if lost := [trial for trial in trials if trial.name in failures]:
        named = (
            f"{t.variant} seed {t.seed}: {failures[t.name].rpartition(f'seed {t.seed} failed: ')[2]}" for t in lost
        )
        rule = f"the verdict is unknown, as {len(lost)} of {len(trials)} runs failed; the same command repeats them"
        raise IncomparableError(f"{rule}: {'; '.join(named)}")
    names = [commits[trial.name] for trial in trials]
    return list(zip(names[::2], names[1::2], strict=True))
