"""The scheduler of trials on other hosts, as flow runs of `trial/study`.

Only the server knows which trials are open: the idempotency key of a flow run is its trial and how many of its runs
ended before. So two studies share a flow run, and a study that is started again adopts what runs. A trial whose worker
is silent goes to another one, whatever the first does later: an experiment is published once.

Silence is measured by this process's clock, which stands still while the server is away. Prefect's automation for
zombie flow runs compares the clocks of worker and server: it crashed a run whose worker's clock was late, missed a dead
one whose clock was early, and crashed what had run on while the server was away.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueueStatus
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling, Crashed

from flows.cluster import sync
from flows.cluster.flow_runs import DEPLOYMENT, PAGE, POOL, FlowRuns, was_cancelled, worker_of
from flows.cluster.queues import libraries_name, queue_name
from flows.repo.git import read_blob
from flows.runs.trial import Ended, Trial

WINDOW = PAGE  # flow runs that are open at once
MAX_ATTEMPTS = 3
POLL_SECONDS = 3.0
TIMEOUT_SECONDS = {  # without a sign of life
    StateType.RUNNING: 75.0,  # two and a half heartbeats
    StateType.CANCELLING: 75.0,
    StateType.PENDING: 60.0,  # which has no heartbeats
}
STOP_SECONDS = 15.0  # for the server to take the requests that end flow runs


@dataclass
class Attempt:
    """An attempt at a trial, and its last sign of life."""

    trial: Trial
    number: int = 1
    scheduled_time: datetime | None = None  # which a further attempt keeps
    last_state: UUID | None = None
    last_heartbeat: str | None = None
    silent_seconds: float = 0.0


def run_on_workers(root: Path, trials: list[Trial], log: Callable[[str], None]) -> Generator[Ended | None]:
    """Run trials on other hosts.

    Yields
    ------
    Ended or None
        Each trial that ended; None after each poll of the server, so that the caller can do other work.
    """
    for commit in dict.fromkeys(trial.commit for trial in trials):
        sync.push_inputs(root, commit)
    with get_client(sync_client=True) as client:
        scheduler = Scheduler(client, root, trials, log)
        try:
            while scheduler.has_work():
                scheduler.poll()
                while scheduler.ended:
                    yield scheduler.ended.popleft()
                yield None
                if scheduler.has_work():
                    time.sleep(POLL_SECONDS)
        except BaseException:  # the caller's loop was ended, too
            scheduler.stop()
            raise


class Scheduler:
    """Submit trials as flow runs, watch them, and stop them."""

    def __init__(self, client: SyncPrefectClient, root: Path, trials: list[Trial], log: Callable[[str], None]):
        self.client, self.log, self.runs = client, log, FlowRuns(client)
        self.waiting = deque(Attempt(trial) for trial in trials)
        self.open: dict[UUID, Attempt] = {}
        self.ended: deque[Ended] = deque()
        commits = {trial.commit for trial in trials}
        self.libraries = {c: libraries_name(read_blob(root, c, "requirements.lock") or b"") for c in commits}
        self._server_is_away = False
        self._last_poll = time.monotonic()
        self._unserved: set[str] = set()

    def has_work(self) -> bool:
        return bool(self.waiting or self.open)

    def poll(self) -> None:
        """Follow the open flow runs, and submit more."""
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # a client that retries is silent for a minute
                runs = self.runs.read({"id": {"any_": list(self.open)}}) if self.open else []
                heartbeats = self.runs.last_heartbeats([run.id for run in runs if run.state and run.state.is_running()])
                self._count_seconds()
                for run in runs:
                    self._follow(run, heartbeats.get(run.id))
                for deleted in self.open.keys() - {run.id for run in runs}:
                    self._end(deleted, "its flow run was deleted")
                self._report_unserved_queues(runs)
                self._submit()  # last: a server that rejects it for a while has reported by then what ended
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not self._server_is_away:
                self.log(f"Prefect's server does not answer ({type(error).__name__}); trials go on; waiting for it")
            self._server_is_away = True
        else:
            if self._server_is_away:
                self.log("Prefect's server answers again")
            self._server_is_away = False

    def _count_seconds(self) -> None:
        """Count the seconds since the last answer, at most two polls."""
        now = time.monotonic()
        for attempt in self.open.values():
            attempt.silent_seconds += min(now - self._last_poll, 2 * POLL_SECONDS)
        self._last_poll = now

    def _submit(self) -> None:
        """Submit the first trials that wait, or join another study's flow run."""
        attempts = [self.waiting[n] for n in range(min(WINDOW - len(self.open), len(self.waiting)))]
        n_ended = self._count_ended([attempt.trial.name for attempt in attempts])
        for attempt in attempts:
            trial = attempt.trial
            run: Any = run_deployment(  # typed as a coroutine, too
                DEPLOYMENT,
                parameters={key: getattr(trial, key) for key in ("variant", "seed", "overrides", "name", "commit")},
                flow_run_name=trial.name,
                work_queue_name=queue_name(
                    trial.overrides["train.precision"], trial.overrides["train.device"], self.libraries[trial.commit]
                ),
                idempotency_key=f"{trial.name}/{n_ended[trial.name]}",
                scheduled_time=attempt.scheduled_time,
                timeout=0,
            )
            attempt.scheduled_time = attempt.scheduled_time or run.expected_start_time
            self.open[run.id] = attempt
            self.waiting.popleft()

    def _count_ended(self, names: list[str]) -> dict[str, int]:
        """Count each trial's ended flow runs, also deleted ones, by key."""
        counts = dict.fromkeys(names, 0)
        for run in self.runs.read({"name": {"any_": names}}) if names else ():
            name, _, number = (run.idempotency_key or "").rpartition("/")
            is_over = run.state and (run.state.is_final() or run.state.is_cancelling())
            if name == run.name and number.isdecimal() and is_over:
                counts[name] = max(counts[name], int(number) + 1)
        return counts

    def _follow(self, run: FlowRun, heartbeat: str | None) -> None:
        """Act on the state of a flow run, and on its silence."""
        attempt, state = self.open[run.id], run.state
        if state is None:
            return
        if state.is_running() and state.id != attempt.last_state:
            self.log(f"{attempt.trial.variant} seed {attempt.trial.seed} runs on {worker_of(run)}")
        if (state.id, heartbeat) != (attempt.last_state, attempt.last_heartbeat):
            attempt.last_state, attempt.last_heartbeat, attempt.silent_seconds = state.id, heartbeat, 0.0
        timed_out = attempt.silent_seconds > TIMEOUT_SECONDS.get(state.type, math.inf)
        match state.type:
            case StateType.RUNNING | StateType.PENDING if timed_out:
                message = f"no sign of life from {worker_of(run)} for {attempt.silent_seconds:.0f} s"
                self.client.set_flow_run_state(run.id, Crashed(message=message))  # followed at the next poll
                self.log(f"{attempt.trial.name}: {message}")
            case StateType.CANCELLING if timed_out:  # its worker is gone
                self.client.set_flow_run_state(run.id, Cancelled())
            case StateType.CRASHED if not was_cancelled(self.client.read_flow_run_states(run.id)):
                self._try_again(run, state.message or "crashed")
            case StateType.CRASHED | StateType.CANCELLED:
                self._end(run.id, "was cancelled")
            case StateType.COMPLETED:
                self._end(run.id)
            case StateType.FAILED:
                self._end(run.id, state.message or "failed")

    def _try_again(self, run: FlowRun, reason: str) -> None:
        attempt = self.open[run.id]
        if attempt.number == MAX_ATTEMPTS:
            self._end(run.id, f"{MAX_ATTEMPTS} attempts crashed, the last: {reason}")
            return
        self.log(f"{attempt.trial.name}: attempt {attempt.number} crashed on {worker_of(run)}: {reason}")
        attempt.number += 1
        self.waiting.appendleft(self.open.pop(run.id))

    def _end(self, run: UUID, failure: str = "") -> None:
        self.ended.append(Ended(self.open.pop(run).trial, failure.partition("\n")[0]))

    def _report_unserved_queues(self, runs: list[FlowRun]) -> None:
        """Log once which queues have late trials and no worker."""
        late = {run.work_queue_name for run in runs if run.state_name == "Late" and run.work_queue_name}
        unserved = {
            name for name in late if self.client.read_work_queue_by_name(name, POOL).status != WorkQueueStatus.READY
        }
        for name in sorted(unserved - self._unserved):
            self.log(
                f"no worker serves queue {name}: none has this precision, device and these libraries; its trials wait; "
                "run `make worker` on a host that has them"
            )
        self._unserved = unserved

    def stop(self) -> None:
        """End all flow runs, first those that would begin meanwhile."""
        names = [attempt.trial.name for attempt in (*self.open.values(), *self.waiting)]
        until, n_stopped = time.monotonic() + STOP_SECONDS, 0
        while time.monotonic() < until:
            with suppress(httpx.HTTPError), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                runs = self.runs.read({"name": {"any_": names}})
                for run in sorted(runs, key=lambda run: run.state_type != StateType.SCHEDULED):
                    if run.state and not run.state.is_final() and not run.state.is_cancelling():
                        self.client.set_flow_run_state(
                            run.id, Cancelled() if run.state.is_scheduled() else Cancelling()
                        )
                        n_stopped += 1
                self.log(f"cancelled {n_stopped} trials")
                return
            time.sleep(1)
        self.log("Prefect's server does not answer; the trials on other hosts go on")
