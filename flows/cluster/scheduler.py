"""The trials of a study on many machines: flow runs of `trial/study`, each taken by whichever worker can.

Which trials are open, and on which try, is known to the server alone: the key of a flow run is its trial and how many
of the trial's runs ended before it. So two studies at once ask for the same flow run, and a study that was killed and
is started again takes up what runs.

Prefect notices neither a machine that dies nor one that freezes: its flow run stays Running. So silence is counted
here, by this process's clock, which other machines' clocks cannot mislead, and which stands still while the server
does not answer. A trial that was silent goes to another machine, whatever its own does later: an experiment is
published once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueueStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling, Crashed

from flows.cluster import queues, sync
from flows.cluster.status import DEPLOYMENT, PAGE, POOL, machine_of
from flows.repo.git import read_blob
from flows.runs.trial import Ended, Trial

WINDOW = PAGE  # flow runs that are open at once
TRIES = 3
LOOK_SECONDS = 3.0
SILENT_SECONDS = 75.0  # two and a half heartbeats
STUCK_SECONDS = 60.0  # in Pending, where nothing beats, and from Crashed to Cancelled
STOP_SECONDS = 15.0  # for the server to hear what is to end
HEARTBEATS_OF = timedelta(days=1)  # far enough from now for any machine's clock


class Clock:
    """Seconds in which the server was looked at: a pause between two looks counts as one look."""

    def __init__(self) -> None:
        self.seconds, self._looked = 0.0, time.monotonic()

    def tick(self) -> None:
        """Note that the server answered."""
        now = time.monotonic()
        self.seconds += min(now - self._looked, 2 * LOOK_SECONDS)
        self._looked = now


@dataclass
class Try:
    """A trial that is wanted: which try it is, and the flow run's last sign of life."""

    trial: Trial
    number: int = 1
    is_asked: bool = False  # of the server, whose answer may be lost
    place: datetime | None = None  # in the queue, which a further try keeps
    sign: Any = None
    since: float = 0.0  # of the clock


def on_machines(root: Path, trials: list[Trial], log: Callable[[str], None]) -> Generator[Ended | None]:
    """Bring trials into being on other machines.

    Yields
    ------
    Ended or None
        Each trial that ended; None at the end of each look at the server, so that the caller may do so, too.

    Raises
    ------
    RuntimeError
        If the server has no such deployment.
    """
    sync.offer(root, trials[0].commit)
    with get_client(sync_client=True) as client:
        runs = Runs(client, root, trials, log)
        try:
            while runs.wanted:
                runs.look()
                while runs.ended:
                    yield runs.ended.popleft()
                yield None
                if runs.wanted:
                    time.sleep(LOOK_SECONDS)
        except BaseException:  # the loop that takes what this yields was ended, too
            runs.stop()
            raise


class Runs:
    """The flow runs of trials: submitted, watched, submitted anew, and stopped."""

    def __init__(self, client: SyncPrefectClient, root: Path, trials: list[Trial], log: Callable[[str], None]):
        self.client, self.log, self.clock = client, log, Clock()
        self.waiting = deque(Try(trial) for trial in trials)
        self.open: dict[UUID, Try] = {}
        self.ended: deque[Ended] = deque()
        self.libraries = queues.libraries(read_blob(root, trials[0].commit, "requirements.lock") or b"")
        self._is_away = False
        self._asked = 0.0  # when queues were last looked at
        self._unserved: set[str] = set()
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT).id
        except ObjectNotFound:
            raise RuntimeError(f"the server must know {DEPLOYMENT}; it does not; run `make deploy`") from None
        self._of_trials = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

    @property
    def wanted(self) -> bool:
        """Whether anything has not ended."""
        return bool(self.waiting or self.open)

    def look(self) -> None:
        """See what became of flow runs, and submit what there is room for; a server that is away is waited for."""
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # a client that retries says nothing for a minute
                runs = self._read(FlowRunFilter(id=FlowRunFilterId(any_=list(self.open)))) if self.open else []
                beats = self._heartbeats([run.id for run in runs if run.state and run.state.is_running()])
                self.clock.tick()
                for run in runs:
                    self._follow(run, beats.get(run.id))
                for gone in self.open.keys() - {run.id for run in runs}:
                    self._end(gone, "its flow run was deleted")
                self._name_unserved(runs)
                self._submit()  # last: a server that refuses it for a while has told by then what ended
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not self._is_away:
                self.log(f"Prefect's server does not answer ({type(error).__name__}); trials go on, and are waited for")
            self._is_away = True
        else:
            if self._is_away:
                self.log("Prefect's server answers again")
            self._is_away = False

    # --- Submitting ------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Open flow runs for the first trials that wait; the server gives the same one to whoever asks."""
        chosen = [self.waiting[n] for n in range(min(WINDOW - len(self.open), len(self.waiting)))]
        earlier = self._ended_runs([one.trial.name for one in chosen])
        for one in chosen:
            trial, one.is_asked = one.trial, True
            run: Any = run_deployment(  # a coroutine elsewhere
                DEPLOYMENT,
                parameters={key: getattr(trial, key) for key in ("variant", "seed", "overrides", "name", "commit")},
                flow_run_name=trial.name,
                work_queue_name=queues.needed(
                    trial.overrides["train.precision"], trial.overrides["train.device"], self.libraries
                ),
                idempotency_key=f"{trial.name}/{earlier[trial.name]}",
                scheduled_time=one.place,
                timeout=0,
            )
            one.place, one.sign = one.place or run.expected_start_time, None
            self.open[run.id] = one
            self.waiting.popleft()

    def _ended_runs(self, names: list[str]) -> dict[str, int]:
        """How many flow runs of each trial have ended, or will, by their keys: some may have been deleted since."""
        counts = dict.fromkeys(names, 0)
        for run in self._named(names):
            name, _, number = (run.idempotency_key or "").rpartition("/")
            is_over = run.state and (run.state.is_final() or run.state.is_cancelling())
            if name == run.name and number.isdecimal() and is_over:
                counts[name] = max(counts[name], int(number) + 1)
        return counts

    # --- Watching --------------------------------------------------------------------------------

    def _named(self, names: list[str]) -> list[FlowRun]:
        return self._read(FlowRunFilter(name=FlowRunFilterName(any_=names))) if names else []

    def _read(self, criteria: FlowRunFilter) -> list[FlowRun]:
        """Read all flow runs of trials that fit, page by page."""
        found: list[FlowRun] = []
        while len(found) % WINDOW == 0:
            page = self.client.read_flow_runs(
                deployment_filter=self._of_trials, flow_run_filter=criteria, limit=WINDOW, offset=len(found)
            )
            found += page
            if not page:
                break
        return found

    def _heartbeats(self, running: list[UUID]) -> dict[UUID, str]:
        """When each flow run last gave a heartbeat, as its machine's clock has it."""
        if not running:
            return {}
        now = datetime.now(UTC)
        criteria = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run}" for run in running]},
            "occurred": {"since": (now - HEARTBEATS_OF).isoformat(), "until": (now + HEARTBEATS_OF).isoformat()},
        }
        answer = self.client.request(
            "POST", "/events/count-by/{countable}", path_params={"countable": "resource"}, json={"filter": criteria}
        )
        return {UUID(one["value"].rpartition(".")[2]): one["end_time"] for one in answer.json()}

    def _follow(self, run: FlowRun, beat: str | None) -> None:
        """Act on what a flow run has become, or on its silence."""
        one, state = self.open[run.id], run.state
        if state is None:
            return
        if (state.id, beat) != one.sign:
            if state.is_running() and (one.sign is None or one.sign[0] != state.id):
                self.log(f"{one.trial.variant} seed {one.trial.seed} runs on {machine_of(run)}")
            one.sign, one.since = (state.id, beat), self.clock.seconds
        silent = self.clock.seconds - one.since
        if (state.is_running() and silent > SILENT_SECONDS) or (state.is_pending() and silent > STUCK_SECONDS):
            self._give_up(run, silent)
        elif state.is_cancelling() and silent > SILENT_SECONDS:  # nobody is there who would end it
            self.client.set_flow_run_state(run.id, Cancelled())
        elif state.is_completed():
            self._end(run.id)
        elif state.is_crashed() and self._is_being_cancelled(run.id):
            if silent > STUCK_SECONDS:
                self._end(run.id, "was cancelled")
        elif state.is_crashed():
            self._try_again(run.id, state.message or "crashed")
        elif state.is_final():
            self._end(run.id, "was cancelled" if state.is_cancelled() else state.message or "failed")

    def _give_up(self, run: FlowRun, silent: float) -> None:
        """Take a trial from a machine that shows no sign of life; what became of it meanwhile is seen next time."""
        told = f"no sign of life from {machine_of(run)} for {silent:.0f} s"
        self.client.set_flow_run_state(run.id, Crashed(message=told))
        self.log(f"{self.open[run.id].trial.name}: {told}")

    def _is_being_cancelled(self, run: UUID) -> bool:
        """Whether a crashed flow run is on its way from Cancelling to Cancelled."""
        return any(state.type == StateType.CANCELLING for state in self.client.read_flow_run_states(run))

    def _try_again(self, run: UUID, why: str) -> None:
        one = self.open[run]
        if one.number == TRIES:
            return self._end(run, f"{TRIES} tries crashed, the last: {why}")
        self.log(f"{one.trial.name}: try {one.number} of {TRIES} crashed: {why}")
        del self.open[run]
        one.number += 1
        return self.waiting.appendleft(one)

    def _end(self, run: UUID, failure: str = "") -> None:
        self.ended.append(Ended(self.open.pop(run).trial, failure.partition("\n")[0]))

    def _name_unserved(self, runs: list[FlowRun]) -> None:
        """Say once which queues have late trials and no machine; they wait for one."""
        if self.clock.seconds - self._asked < STUCK_SECONDS / 2:
            return
        self._asked = self.clock.seconds
        late = {run.work_queue_name for run in runs if run.state_name == "Late" and run.work_queue_name}
        unserved = {
            name
            for name in late
            if self.client.read_work_queue_by_name(name, POOL).status != WorkQueueStatus.READY  # nobody polls it
        }
        for name in sorted(unserved - self._unserved):
            self.log(
                f"no machine takes trials of queue {name}: none has this precision, device and these libraries; "
                "they wait; run `make worker` on one that does"
            )
        self._unserved = unserved

    # --- Stopping --------------------------------------------------------------------------------

    def stop(self) -> None:
        """End all flow runs: first those that would begin meanwhile."""
        trials = [one.trial.name for one in (*self.open.values(), *self.waiting) if one.is_asked]
        until = time.monotonic() + STOP_SECONDS
        told: set[UUID] = set()
        while trials and time.monotonic() < until:
            with suppress(httpx.HTTPError), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                left = [run for run in self._named(trials) if run.state and not run.state.is_final()]
                for run in sorted(left, key=lambda run: bool(run.state and not run.state.is_scheduled())):
                    if run.id not in told:
                        is_queued = bool(run.state and run.state.is_scheduled())
                        self.client.set_flow_run_state(run.id, Cancelled() if is_queued else Cancelling())
                        told.add(run.id)
                self.log(f"told {len(told)} trials to end")
                return
            time.sleep(1)
        if trials:
            self.log("Prefect's server does not answer; the trials on other machines go on")
