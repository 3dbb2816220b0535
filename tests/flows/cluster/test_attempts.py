"""The scheduler's decisions, without a server, by a clock of the test."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows.cluster import scheduler
from flows.cluster.scheduler import POLL_SECONDS, Scheduler
from flows.runs.trial import Ended
from tests.support.stub_machines import trials_of


class FakeServer:
    """The part of Prefect's client that the scheduler uses, in memory."""

    def __init__(self) -> None:
        self.runs: dict[UUID, FlowRun] = {}
        self.history: dict[UUID, list[State[Any]]] = {}
        self.heartbeats: dict[UUID, str] = {}
        self.is_away = False

    def submit(self, _: str, flow_run_name: str, idempotency_key: str, **__: Any) -> FlowRun:
        run = FlowRun(flow_id=uuid4(), name=flow_run_name, idempotency_key=idempotency_key)
        run.labels["prefect.worker.name"] = "m1"
        self.runs[run.id] = run
        self.become(run, Scheduled())
        return run

    def become(self, run: FlowRun, *states: State[Any]) -> None:
        for state in states:
            self.set_flow_run_state(run.id, state)

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        self.runs[run].state = state
        self.history.setdefault(run, []).append(state)

    def read_flow_run_states(self, run: UUID) -> list[State[Any]]:
        return self.history[run]

    def read(self, criteria: dict[str, Any]) -> list[FlowRun]:
        if self.is_away:
            raise httpx.ConnectError("away")
        ((field, values),) = criteria.items()
        return [run for run in self.runs.values() if getattr(run, field) in values["any_"]]

    def last_heartbeats(self, ids: list[UUID]) -> dict[UUID, str]:
        return {run: self.heartbeats[run] for run in ids if run in self.heartbeats}

    def newest(self) -> FlowRun:
        return list(self.runs.values())[-1]

    def states(self) -> list[str]:
        return [str(run.state and run.state.name) for run in self.runs.values()]


class Study:
    """A scheduler of trials, with its server, clock and log."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch):
        self.server, self.log, self.now = FakeServer(), list[str](), 0.0
        self.trials = trials_of("HEAD", count)
        monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(scheduler, "FlowRuns", lambda client: client)
        monkeypatch.setattr(scheduler, "run_deployment", self.server.submit)
        monkeypatch.setattr(scheduler, "read_blob", lambda *_: b"")
        monkeypatch.setattr(scheduler, "temporary_settings", lambda _: nullcontext())  # which take 60 ms
        client: Any = self.server
        self.scheduler = Scheduler(client, Path(), self.trials, self.log.append)
        self.scheduler.poll()

    def wait(self, seconds: float) -> list[Ended]:
        """Poll for so many seconds; return what ended."""
        until = self.now + seconds
        while self.now < until:
            self.now += POLL_SECONDS
            self.scheduler.poll()
        ended = list(self.scheduler.ended)
        self.scheduler.ended.clear()
        return ended


@pytest.mark.parametrize("state", [Running(), Pending()], ids=["running", "pending"])
def test_a_silent_trial_gets_three_attempts(monkeypatch: pytest.MonkeyPatch, state: State[Any]) -> None:
    study, timeout = Study(1, monkeypatch), scheduler.TIMEOUT_SECONDS[state.type]
    for number in range(1, 4):
        assert len(study.server.runs) == number
        study.server.become(study.server.newest(), state.model_copy(update={"id": uuid4()}))
        assert study.wait(timeout + POLL_SECONDS) == []  # the first poll sees the state
        assert study.server.states() == ["Crashed"] * (number - 1) + [state.name]
        study.wait(POLL_SECONDS)
        assert study.server.states() == ["Crashed"] * number
        ended = study.wait(POLL_SECONDS)
    (only,) = ended
    assert only.failure.startswith("3 attempts crashed, the last: no sign of life from m1 for ")


def test_a_trial_with_heartbeats_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(1, monkeypatch)
    run = study.server.newest()
    study.server.become(run, Running())
    for number in range(10):
        study.server.heartbeats[run.id] = str(-number)  # by a clock that runs backwards
        assert study.wait(60) == []
    assert study.server.states() == ["Running"]


def test_the_clock_stands_still_while_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(1, monkeypatch)
    study.server.become(study.server.newest(), Running())
    study.wait(30)
    study.server.is_away = True
    assert study.wait(1000) == []
    study.server.is_away = False
    assert study.wait(30) == []
    assert study.server.states() == ["Running"]
    assert [line for line in study.log if "server" in line] == [
        "Prefect's server does not answer (ConnectError); trials go on; waiting for it",
        "Prefect's server answers again",
    ]


def test_a_trial_that_is_cancelled_or_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(3, monkeypatch)
    crashed, left, failed = study.server.runs.values()
    study.server.become(crashed, Running(), Cancelling(), Crashed(message="aborted by a termination signal"))
    study.server.become(left, Running(), Cancelling())  # its worker is gone
    study.server.become(failed, Running(), Failed(message="the loss must stay finite\nmore"))
    first, second, third = study.trials
    assert study.wait(POLL_SECONDS) == [Ended(first, "was cancelled"), Ended(third, "the loss must stay finite")]
    assert study.wait(100) == [Ended(second, "was cancelled")]
    assert study.server.states() == ["Crashed", "Cancelled", "Failed"]


def test_only_a_window_of_flow_runs_is_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "WINDOW", 2)
    study = Study(5, monkeypatch)
    for number in range(5):
        assert len(study.server.runs) == min(number + 2, 5)
        (run, *_) = (run for run in study.server.runs.values() if run.state and not run.state.is_final())
        study.server.become(run, Completed())
        assert study.wait(POLL_SECONDS) == [Ended(study.trials[number])]
    assert not study.scheduler.has_work()
