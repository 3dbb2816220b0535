"""The status of a study on many hosts, read from the server."""

import math
import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.sorting import FlowRunSort

from flows.cluster.flow_runs import POOL, FlowRuns, worker_of
from flows.cluster.queues import read_cordoned
from flows.results.tables import table

OPEN = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
LISTED = timedelta(days=1)  # since the last heartbeat of a worker


class Worker(NamedTuple):
    """A worker, what it runs, and what it completed lately."""

    name: str
    state: str  # online, offline, or cordoned and why
    running: int
    seconds: list[float]  # of each trial that it completed


class Status(NamedTuple):
    """The workers, and the number of open trials in each state."""

    workers: list[Worker]
    states: dict[str, int]

    def markdown(self) -> str:
        """Show the status as tables, with the remaining time."""
        headers = ("worker", "state", "runs now", "completed lately", "seconds a trial")
        cells = []
        for name, state, running, seconds in self.workers:
            mean = f"{statistics.mean(seconds):.0f}" if seconds else ""
            cells.append((name, state, str(running), str(len(seconds)), mean))
        states = [(name, str(count)) for name, count in self.states.items()]
        remaining = self.estimate(sum(self.states.values()))
        return "\n".join([*table(headers, cells), "", *table(("trials", "number"), states), "", remaining])

    def estimate(self, n_left: int) -> str:
        """Estimate how long trials take; a new worker has the mean speed."""
        online = [worker for worker in self.workers if worker.state == "online"]
        if not n_left:
            return "nothing to run"
        if not online:
            return "no worker is online: run `make worker` on a host"
        timed = [seconds for worker in self.workers for seconds in worker.seconds]
        if not timed:
            return "no trial was completed yet: an estimate follows the first"
        slots = [statistics.mean(worker.seconds or timed) for worker in online for _ in range(max(worker.running, 1))]
        ends = sorted(seconds * n for seconds in slots for n in range(1, n_left + 1))
        minutes, workers = math.ceil(ends[n_left - 1] / 60), len(online)
        return f"about {minutes} minute{'s' * (minutes > 1)} on {workers} worker{'s' * (workers > 1)}"


def read_status(client: SyncPrefectClient) -> Status:
    """Read the status from the server."""
    runs = FlowRuns(client)
    open_runs = runs.read({"state": {"type": {"any_": OPEN}}})
    completed = runs.read_page({"state": {"name": {"any_": ["Completed"]}}}, sort=FlowRunSort.END_TIME_DESC)
    running = Counter(worker_of(run) for run in open_runs if run.state and run.state.is_running())
    seconds: dict[str, list[float]] = {}
    for run in completed:  # and not Cached, which took no training
        seconds.setdefault(worker_of(run), []).append(run.total_run_time.total_seconds())
    states = sorted(_worker_states(client).items())
    workers = [Worker(name, state, running[name], seconds.get(name, [])) for name, state in states]
    return Status(workers, dict(Counter(str(run.state_name) for run in open_runs)))


def _worker_states(client: SyncPrefectClient) -> dict[str, str]:
    since = datetime.now(UTC) - LISTED
    states = {
        worker.name: "online" if worker.status == WorkerStatus.ONLINE else "offline"
        for worker in client.read_workers_for_work_pool(POOL)
        if worker.last_heartbeat_time and worker.last_heartbeat_time > since
    }
    cordoned = read_cordoned(client)
    return states | {name: f"cordoned: {reason}" for name, reason in cordoned.items() if name in states}


def show_status() -> str:
    """Read the status from the server, and show it as Markdown."""
    with get_client(sync_client=True) as client:
        return read_status(client).markdown()
