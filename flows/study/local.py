"""The trials of a study on this machine, each a Prefect task."""

from collections.abc import Generator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.host.resources import Resources, run_resources
from flows.runs.processes import shutting_down, terminate_all
from flows.runs.trial import Ended, Trial, run_trial


def run_locally(root: Path, trials: list[Trial], jobs: int) -> Generator[Ended]:
    """Run trials side by side, and yield each that ended or failed."""
    shutting_down.clear()
    shares: SimpleQueue[Resources] = SimpleQueue()
    runner: Any = ThreadPoolTaskRunner(max_workers=jobs)  # Prefect's own annotations do not fit each other
    with runner:
        for number in range(min(jobs, len(trials))):
            shares.put(run_resources(number, jobs))
        try:
            futures: dict[PrefectFuture[str], Trial] = {
                runner.submit(run_task, {"root": root, "trial": trial, "shares": shares}): trial for trial in trials
            }
            for future in as_completed(list(futures)):
                future.wait()  # its state may still be on its way
                message = "" if future.state.is_completed() else future.state.message or "failed"
                yield Ended(futures[future], message.partition("\n")[0])
        except BaseException:  # Ctrl-C and cancellation reach this thread alone, and the others must end too
            terminate_all()
            raise


@task(name="trial", task_run_name="{trial.variant} seed {trial.seed}", cache_policy=NO_CACHE, persist_result=False)
def run_task(root: Path, trial: Trial, shares: SimpleQueue[Resources]) -> State[str]:
    """Run one trial, and return the name of its experiment."""
    own = shares.get()  # there are as many as trials at once
    try:
        if not run_trial(root, trial, get_run_logger().info, own):
            return Completed(name="Cached", message=f"experiment {trial.name} exists", data=trial.name)
    finally:
        shares.put(own)
    return Completed(message=f"kept as experiment {trial.name}", data=trial.name)
