"""How a study on many machines is getting on: its machines, its trials by state, and when it will be done.

The server is asked, so that any machine can tell, whoever started the study. A machine's speed is that of the trials
that it completed; one that completed none yet is taken to be as fast as the others.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from flows.results.tables import table
from flows.runs.eta import describe_remaining

DEPLOYMENT = "trial/study"
POOL = "study"
LEFT_OUT = "left_out"  # Prefect's variable: machine → why it takes no more trials
PAGE = 200  # of Prefect
REMEMBERED = timedelta(days=1)  # a machine that was silent for longer is not listed
REFRESH_SECONDS = 60.0
OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)


@dataclass(frozen=True)
class Machine:
    """A machine, what it runs, and what it completed lately."""

    name: str
    state: str  # alive, silent, or left out and why
    running: int
    seconds: tuple[float, ...]  # of each trial that it completed

    @property
    def works(self) -> bool:
        return self.state == "alive"


@dataclass(frozen=True)
class Status:
    """The machines, and the trials that the server knows of by state."""

    machines: tuple[Machine, ...]
    states: dict[str, int]

    def markdown(self, left: int | None = None) -> str:
        """Show it as tables, with the estimate for so many trials; by default for those that are open."""
        headers = ("machine", "state", "runs now", "completed lately", "seconds a trial")
        cells = [
            (
                one.name,
                one.state,
                str(one.running),
                str(len(one.seconds)),
                f"{statistics.mean(one.seconds):.0f}" if one.seconds else "",
            )
            for one in self.machines
        ]
        states = [(name, str(count)) for name, count in self.states.items()]
        told = self.estimate(sum(self.states.values()) if left is None else left)
        return "\n".join([*table(headers, cells), "", *table(("trials", "number"), states), "", told])

    def estimate(self, left: int) -> str:
        """Say how long so many trials will take."""
        working = [one for one in self.machines if one.works]
        if left and not working:
            return "no machine is there: run `make worker` on one"
        timed = [seconds for one in self.machines for seconds in one.seconds]
        places = [statistics.mean(one.seconds or timed) for one in working for _ in range(max(one.running, 1)) if timed]
        return describe_remaining(left, places, f"on {len(working)} machine{'s' if len(working) > 1 else ''}")


def read(client: SyncPrefectClient) -> Status:
    """Ask the server.

    Raises
    ------
    RuntimeError
        If it has no such deployment.
    """
    try:
        deployment = client.read_deployment_by_name(DEPLOYMENT).id
    except ObjectNotFound:
        raise RuntimeError(f"the server must know {DEPLOYMENT}; it does not; run `make deploy`") from None
    of_trials = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    open_runs: list[FlowRun] = []
    while page := client.read_flow_runs(
        deployment_filter=of_trials, flow_run_filter=_in_state(*OPEN), limit=PAGE, offset=len(open_runs)
    ):
        open_runs += page
    completed = client.read_flow_runs(
        deployment_filter=of_trials,
        flow_run_filter=_in_state(StateType.COMPLETED),
        sort=FlowRunSort.END_TIME_DESC,
        limit=PAGE,
    )
    return Status(_machines(client, open_runs, completed), dict(Counter(str(run.state_name) for run in open_runs)))


def now() -> str:
    """Ask the server, and show the status as Markdown."""
    with get_client(sync_client=True) as client:
        return read(client).markdown()


def _in_state(*types: StateType) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))))


def _machines(
    client: SyncPrefectClient, open_runs: Sequence[FlowRun], completed: Sequence[FlowRun]
) -> tuple[Machine, ...]:
    variable = client.read_variable_by_name(LEFT_OUT)
    left_out: dict[str, Any] = dict(variable.value) if variable and isinstance(variable.value, dict) else {}
    since = datetime.now(UTC) - REMEMBERED
    workers = {
        worker.name: "alive" if worker.status == WorkerStatus.ONLINE else "silent"
        for worker in client.read_workers_for_work_pool(POOL)
        if worker.last_heartbeat_time and worker.last_heartbeat_time > since
    }
    running = Counter(machine_of(run) for run in open_runs if run.state and run.state.is_running())
    seconds: dict[str, list[float]] = {}
    for run in completed:
        if run.state_name != "Cached":  # which took no training
            seconds.setdefault(machine_of(run), []).append(run.total_run_time.total_seconds())
    states = workers | {name: f"left out: {why}" for name, why in left_out.items() if name in workers}
    return tuple(
        Machine(name, state, running[name], tuple(seconds.get(name, ()))) for name, state in sorted(states.items())
    )


def machine_of(run: FlowRun) -> str:
    """Name the machine whose worker took a flow run."""
    return str(run.labels.get("prefect.worker.name", "no machine"))


class Watch:
    """The status of a running study: asked for now and then, shown as an artifact of its flow."""

    def __init__(self, key: str):
        self.key, self._estimate, self._asked, self._shown = key, "", -math.inf, ""

    def estimate(self, left: Sequence[Any]) -> str:
        """Say how long trials will take, by what the server told in the last minute."""
        if time.monotonic() - self._asked > REFRESH_SECONDS:
            self._asked = time.monotonic()
            with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
                status = read(client)
                self._estimate = status.estimate(len(left))
                if (shown := status.markdown(len(left))) != self._shown:
                    create_markdown_artifact(shown, key=self.key, description="Machines, and trials by state")
                    self._shown = shown
        return self._estimate
