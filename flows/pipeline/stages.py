"""A DVC stage as a Prefect task: verdict, run, log.

DVC alone decides what is stale. Prefect's own caching is off, and its state `Cached` repeats what DVC decided.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from flows.repo.staleness import stale_reasons
from flows.runs.processes import StageFailedError, repro

LEASE_SECONDS = 60.0  # without a sign of life, after which a run no longer holds a limit
POLL_SECONDS = 2.0  # between looks at a workspace that another DVC is using

T = TypeVar("T")


def stage(name: str, limit_seconds: float, needs: Iterable[str] = (), **options: Any) -> Task[..., State[str]]:
    """Make a Prefect task that brings one DVC stage up to date.

    It waits for the server's limits of the names in `needs`, if it has them. The options are those of Prefect's `task`.
    """

    @task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=_is_retryable,
        **options,
    )
    def bring_up_to_date(root: Path, force: bool, *inputs: str) -> State[str]:
        logger = get_run_logger()
        reasons = retry_while_locked(root, lambda root: verdict(root, name), logger.info)
        if force:
            reasons = ("forced",)
        if not reasons:
            return Completed(name="Cached", message="DVC: nothing changed, outputs are intact", data=name)
        logger.info("%s runs: %s", name, "; ".join(reasons))
        # Leases, which end with their holder. Prefect's limits on tags would outlive a run that was killed.
        with concurrency([limit for limit in needs if _is_limited(limit)], lease_duration=LEASE_SECONDS):
            status = reproduce(root, name, limit_seconds, logger.info, force)
        return Completed(message=f"{status}: {'; '.join(reasons)}", data=name)

    return bring_up_to_date


def _is_limited(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True


def _is_retryable(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Retry only what may pass, such as a silent mirror."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailedError) and error.temporary


def verdict(root: Path, name: str) -> tuple[str, ...]:
    """Return why DVC would run a stage now."""
    reasons = stale_reasons(root, [name])[name]
    hint = (reasons[0].remedy,) if {reason.kind for reason in reasons} == {"layout"} else ()
    return (*map(str, reasons), *hint)


def retry_while_locked(root: Path, query: Callable[[Path], T], log: Callable[..., None]) -> T:
    """Query DVC about a workspace, again while another DVC process uses it."""
    from dvc.lock import LockError

    waiting = False
    while True:
        try:
            return query(root)
        except LockError as error:
            if not waiting:
                log("waiting for another DVC process in %s: %s", root, str(error).splitlines()[0])
            waiting = True
            time.sleep(POLL_SECONDS)


def reproduce(root: Path, name: str, limit_seconds: float, log: Callable[[str], None], force: bool = False) -> str:
    """Run one stage with `dvc repro`, and return what that did."""
    options = ("--force",) if force else ()
    output = "\n".join(repro(root, name, limit_seconds, log, (*options, "--single-item", name)))
    if f"Stage '{name}' is cached - skipping run" in output:
        return "restored from the run cache"
    return "ran" if f"Running stage '{name}'" in output else "nothing to do"
