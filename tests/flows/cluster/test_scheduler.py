"""The study's loop over many machines, with a real server; tests say what became of flow runs, as machines would."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows.cluster import scheduler, status
from flows.host.resources import Share
from flows.runs import processes
from flows.runs.trial import Ended, Trial
from flows.study import flow as study_flow
from flows.study import local
from tests.support.clone import IDENTITY
from tests.support.stub_machines import Server, beat, become, runs_of, serving_trials, trials_of

pytestmark = [pytest.mark.slow, pytest.mark.timing]

Loop = Generator[Ended | None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_trials(tmp_path_factory.mktemp("prefect")) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a lock; nothing is handed over."""
    from flows.repo.git import git

    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, *IDENTITY, "commit", "--quiet", "--message", "start")
    monkeypatch.setattr("flows.cluster.scheduler.handover.offer", lambda root, commit: None)
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(scheduler, "SILENT_SECONDS", 5.0)
    monkeypatch.setattr(scheduler, "STUCK_SECONDS", 4.0)
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


def look(loop: Loop, times: int = 1) -> list[Ended]:
    """Let the loop look at the server so often, or until it is done; what ended."""
    ended = []
    while times:
        try:
            found = next(loop)
        except StopIteration:
            break
        if found:
            ended.append(found)
        else:
            times -= 1
    return ended


def look_until(loop: Loop, what: str, said: list[str]) -> list[Ended]:
    ended = []
    until = time.monotonic() + 60
    while not any(what in line for line in said):
        assert time.monotonic() < until, f"waited for {what!r}; said {said}"
        ended += look(loop)
    return ended


def by_seed(ended: list[Ended]) -> list[Ended]:
    """In the order of their seeds: of those that ended between two looks the server names any first."""
    return sorted(ended, key=lambda one: one.trial.seed)


def states(client: SyncPrefectClient, trials: list[Trial]) -> list[str]:
    return [str(run.state_name) for run in runs_of(client, trials)]


def test_trials_are_flow_runs_that_end_as_their_machines_say(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 3)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        assert look(loop) == []
        first, second, third = runs_of(client, trials)
        assert first.parameters["name"] == trials[0].name
        assert first.work_queue_name is not None
        assert first.work_queue_name.startswith("float32-")
        become(client, first, Pending(), Running(), Completed())
        become(client, second, Running(), machine="m2")
        become(client, third, Running(), Failed(message="the loss must stay finite\nmore"))
        assert by_seed(look(loop)) == [Ended(trials[0]), Ended(trials[2], "the loss must stay finite")]
        assert "none seed 1 runs on m2" in said
        become(client, second, Completed(name="Cached"))
        assert look(loop, 5) == [Ended(trials[1])]
    assert len(runs_of(client, trials)) == 3  # what failed by its own fault is not tried again


def test_two_studies_at_once_ask_for_one_flow_run_of_a_trial_and_of_each_further_try(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 2)
    one, other = (scheduler.on_machines(root, trials, said.append) for _ in range(2))
    assert look(one) == look(other) == []
    first, second = runs_of(client, trials)
    become(client, first, Running(), Crashed(message="status -9"))
    become(client, second, Completed())
    assert look(one) == look(other) == [Ended(trials[1])]
    assert look(one) == look(other) == []
    tries = runs_of(client, trials[:1])
    assert [run.state_name for run in tries] == ["Crashed", "Scheduled"]
    assert tries[1].expected_start_time == tries[0].expected_start_time  # it keeps its place in the queue
    become(client, tries[1], Completed())
    assert look(one, 3) == look(other, 3) == [Ended(trials[0])]


def test_a_study_that_was_killed_and_is_started_again_takes_up_what_runs(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 2)
    killed = scheduler.on_machines(root, trials, said.append)
    look(killed)
    running, queued = runs_of(client, trials)
    become(client, running, Running())
    again = scheduler.on_machines(root, trials, said.append)
    assert look(again) == []
    assert [run.id for run in runs_of(client, trials)] == [running.id, queued.id]
    again.close()  # and ends them: what is queued at once, what runs by its machine
    assert states(client, trials) == ["Cancelling", "Cancelled"]
    look(anew := scheduler.on_machines(root, trials, said.append))
    assert states(client, trials) == ["Cancelling", "Scheduled", "Cancelled", "Scheduled"]
    become(client, running, Cancelled())
    anew.close()


def test_a_machine_that_is_silent_loses_its_trial_and_one_whose_clock_is_wrong_does_not(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 2)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        look(loop)
        silent, alive = runs_of(client, trials)
        become(client, silent, Running())
        become(client, alive, Running(), machine="m2")
        until, hours_ago = time.monotonic() + 60, datetime.now(UTC) - timedelta(hours=5)
        while not any("no sign of life from m1" in line for line in said):
            assert time.monotonic() < until
            hours_ago += timedelta(seconds=1)
            beat(client, alive.id, hours_ago)
            look(loop)
        look(loop, 2)
        assert states(client, trials[:1]) == ["Crashed", "Scheduled"]
        assert not any("m2" in line and "no sign" in line for line in said)


def test_a_trial_that_is_stuck_before_it_runs_is_given_to_another_machine_three_times_at_most(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 1)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        ended: list[Ended] = []
        for number in (1, 2, 3):
            ended += look(loop, 2)
            become(client, runs_of(client, trials)[-1], Pending(name="Submitting"))
            until = time.monotonic() + 60
            while len([line for line in said if line.startswith(f"{trials[0].name}: no sign of life")]) < number:
                assert time.monotonic() < until
                ended += look(loop)
        ended += look(loop, 5)
    (only,) = ended
    assert only.failure.startswith("3 tries crashed, the last: no sign of life from m1 for ")
    assert states(client, trials) == ["Crashed"] * 3


def test_a_trial_that_crashes_on_its_way_to_cancelled_is_not_tried_again(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 3)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        look(loop)
        first, second, third = runs_of(client, trials)
        for run in (first, second):
            become(client, run, Running(), Cancelling(), Crashed(message="aborted by a termination signal"))
        become(client, third, Running(), Cancelling())
        assert look(loop, 2) == []
        become(client, first, Cancelled())
        ended: list[Ended] = []
        until = time.monotonic() + 60
        while len(ended) < 3:  # the others stay as they are, as where their machine is gone
            assert time.monotonic() < until
            ended += look(loop)
    assert ended[0] == Ended(trials[0], "was cancelled")
    assert by_seed(ended) == [Ended(trial, "was cancelled") for trial in trials]
    assert len(runs_of(client, trials)) == 3


def test_a_queue_without_a_machine_is_named_once(root: Path, client: SyncPrefectClient, said: list[str]) -> None:
    trials = trials_of("HEAD", 2)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        look(loop)
        late = runs_of(client, trials)
        for run in late:
            become(client, run, Scheduled(name="Late"))
        look_until(loop, f"no machine takes trials of queue {late[0].work_queue_name}", said)
        look(loop, 6)
        assert len([line for line in said if "no machine takes" in line]) == 1


def test_no_more_than_a_window_of_flow_runs_is_open_at_once(
    root: Path, client: SyncPrefectClient, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "WINDOW", 2)
    trials = trials_of("HEAD", 5)
    ended: list[Ended] = []
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        while len(ended) < 5:
            ended += look(loop)
            left = [run for run in runs_of(client, trials) if run.state and not run.state.is_final()]
            assert len(left) <= 2
            if left:
                become(client, left[0], Completed())
    assert {one.trial.name for one in ended} == {trial.name for trial in trials}


def test_the_status_names_machines_and_states_and_learns_how_fast_each_machine_is(
    root: Path, client: SyncPrefectClient, said: list[str]
) -> None:
    client.request(
        "POST",
        "/work_pools/{work_pool_name}/workers/heartbeat",
        path_params={"work_pool_name": status.POOL},
        json={"name": "m9"},
    )
    trials = trials_of("HEAD", 1)
    with closing(scheduler.on_machines(root, trials, said.append)) as loop:
        look(loop)
        become(client, runs_of(client, trials)[0], Running(), machine="m9")
        found = status.read(client)
        (m9,) = (one for one in found.machines if one.name == "m9")
        assert (m9.state, m9.running) == ("alive", 1)
        assert found.states["Running"] >= 1
        assert "| m9 | alive | 1 |" in re.sub(" +", " ", found.markdown())
    fast = status.Machine("fast", "alive", 2, (60.0, 60.0))
    slow = status.Machine("slow", "alive", 1, (240.0,))
    fresh = status.Machine("fresh", "alive", 1, ())  # as fast as a trial was in the mean: 120 s
    out = status.Machine("out", "left out: three crashes", 0, (1.0,))
    assert status.Status((fast, slow), {}).estimate(8) == "about 4 minutes on 2 machines"
    assert status.Status((fast, slow, fresh), {}).estimate(8) == "about 4 minutes on 3 machines"
    assert status.Status((fast,), {}).estimate(7) == "about 4 minutes on 1 machine"
    assert status.Status((out,), {}).estimate(7) == "no machine is there: run `make worker` on one"


def test_the_same_loop_runs_trials_here_side_by_side_each_with_its_share_and_ends_them(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: set[str] = set()
    most: list[int] = []

    def make(root: Path, trial: Trial, log: Callable[[str], None], own: Share) -> bool:
        assert own.variables["number"] not in busy
        busy.add(own.variables["number"])
        most.append(len(busy))
        ended = processes.shutting_down.wait(60 if trial.seed == 9 else 0.5)
        busy.remove(own.variables["number"])
        if trial.seed == 1:
            raise RuntimeError("the loss must stay finite\nmore")
        return trial.seed != 2 and not ended

    monkeypatch.setattr(local, "run_trial", make)
    monkeypatch.setattr(local, "share", lambda number, jobs: Share(frozenset(), {"number": str(number)}))
    monkeypatch.setattr("flows.study.flow.get_run_logger", lambda: logging.getLogger("study"))
    trials = trials_of("HEAD", 10)

    @flow(persist_result=False)
    def some(chosen: list[Trial]) -> dict[str, str]:
        return study_flow.run_trials(root, chosen, study_flow.choose_executor(root, "here", 2, print, "study"))

    assert some(trials[:4]) == {
        trials[1].name: "Task run encountered an exception RuntimeError: the loss must stay finite"
    }
    assert max(most) == 2
    assert len(json.loads((root / local.SCRATCH / "seconds.json").read_text())) == 1

    @flow(persist_result=False)
    def interrupted() -> None:
        with closing(local.run_locally(root, trials[8:], 2)) as loop:
            assert next(loop) == Ended(trials[8])
            raise KeyboardInterrupt

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert time.monotonic() - began < 50
        assert busy == set()
    finally:
        processes.shutting_down.clear()


def test_a_server_that_is_away_is_waited_for_and_stops_the_clocks(
    root: Path, server: Server, client: SyncPrefectClient, said: list[str]
) -> None:
    trials = trials_of("HEAD", 1)
    loop = scheduler.on_machines(root, trials, said.append)
    look(loop)
    become(client, runs_of(client, trials)[0], Running())
    look(loop)
    server.end()
    began = time.monotonic()
    while time.monotonic() - began < 2 * scheduler.SILENT_SECONDS:
        assert look(loop) == []
    server.start()
    assert look(loop) == []
    assert [line for line in said if "server" in line] == [
        "Prefect's server does not answer (ConnectError); trials go on, and are waited for",
        "Prefect's server answers again",
    ]
    with get_client(sync_client=True) as after:
        (run,) = runs_of(after, trials)
        assert run.state is not None
        assert run.state.type == StateType.RUNNING
        become(after, run, Completed())
    assert look(loop, 3) == [Ended(trials[0])]
