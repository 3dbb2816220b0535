"""The scheduler on a real server; tests act for the workers."""

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
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows.cluster import flow_runs, scheduler, status
from flows.host.resources import Resources
from flows.repo.git import git
from flows.runs import processes
from flows.runs.trial import Ended, Trial
from flows.study import flow as study_flow
from flows.study import local
from tests.support.clone import IDENTITY
from tests.support.stub_machines import beat, become, runs_of, serving_trials, trials_of

pytestmark = [pytest.mark.slow, pytest.mark.timing]

Loop = Generator[Ended | None]
TIMEOUT_SECONDS = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_trials(tmp_path_factory.mktemp("prefect")) as found:
        yield found


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with a lock; no inputs are pushed."""
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, *IDENTITY, "commit", "--quiet", "--message", "start")
    monkeypatch.setattr("flows.cluster.scheduler.sync.push_inputs", lambda root, commit: None)
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(scheduler, "TIMEOUT_SECONDS", dict.fromkeys(scheduler.TIMEOUT_SECONDS, TIMEOUT_SECONDS))
    return tmp_path


@pytest.fixture
def log() -> list[str]:
    return []


def poll(loop: Loop, times: int = 1) -> list[Ended]:
    """Poll the server `times` times, or to the end; return what ended."""
    ended = []
    while times:
        try:
            result = next(loop)
        except StopIteration:
            break
        if result:
            ended.append(result)
        else:
            times -= 1
    return ended


def poll_until(loop: Loop, what: str, log: list[str]) -> list[Ended]:
    ended = []
    until = time.monotonic() + 60
    while not any(what in line for line in log):
        assert time.monotonic() < until, f"waited for {what!r}; logged {log}"
        ended += poll(loop)
    return ended


def by_seed(ended: list[Ended]) -> list[Ended]:
    """Sort by seed, as the server may list them in any order."""
    return sorted(ended, key=lambda result: result.trial.seed)


def states(client: SyncPrefectClient, trials: list[Trial]) -> list[str]:
    return [str(run.state_name) for run in runs_of(client, trials)]


def test_trials_are_flow_runs_that_end_as_their_workers_report(
    root: Path, client: SyncPrefectClient, log: list[str]
) -> None:
    trials = trials_of("HEAD", 3)
    with closing(scheduler.run_on_workers(root, trials, log.append)) as loop:
        assert poll(loop) == []
        first, second, third = runs_of(client, trials)
        assert first.parameters["name"] == trials[0].name
        assert first.work_queue_name is not None
        assert first.work_queue_name.startswith("float32-")
        become(client, first, Pending(), Running(), Completed())
        become(client, second, Running(), worker="m2")
        become(client, third, Running(), Failed(message="the loss must stay finite\nmore"))
        assert by_seed(poll(loop)) == [Ended(trials[0]), Ended(trials[2], "the loss must stay finite")]
        assert "none seed 1 runs on m2" in log
        become(client, second, Completed(name="Cached"))
        assert poll(loop, 5) == [Ended(trials[1])]
    assert len(runs_of(client, trials)) == 3  # what failed by its own fault is not tried again


def test_two_studies_share_the_flow_run_of_each_attempt(root: Path, client: SyncPrefectClient, log: list[str]) -> None:
    trials = trials_of("HEAD", 2)
    one, other = (scheduler.run_on_workers(root, trials, log.append) for _ in range(2))
    assert poll(one) == poll(other) == []
    first, second = runs_of(client, trials)
    become(client, first, Running(), Crashed(message="status -9"))
    become(client, second, Completed())
    assert poll(one) == poll(other) == [Ended(trials[1])]
    assert poll(one) == poll(other) == []
    attempts = runs_of(client, trials[:1])
    assert [run.state_name for run in attempts] == ["Crashed", "Scheduled"]
    assert attempts[1].expected_start_time == attempts[0].expected_start_time  # it keeps its place in the queue
    become(client, attempts[1], Completed())
    assert poll(one, 3) == poll(other, 3) == [Ended(trials[0])]


def test_a_study_that_is_started_again_adopts_what_runs(root: Path, client: SyncPrefectClient, log: list[str]) -> None:
    trials = trials_of("HEAD", 2)
    killed = scheduler.run_on_workers(root, trials, log.append)
    poll(killed)
    running, queued = runs_of(client, trials)
    become(client, running, Running())
    again = scheduler.run_on_workers(root, trials, log.append)
    assert poll(again) == []
    assert [run.id for run in runs_of(client, trials)] == [running.id, queued.id]
    again.close()  # and cancels them: what is queued at once, what runs by its worker
    assert states(client, trials) == ["Cancelling", "Cancelled"]
    poll(anew := scheduler.run_on_workers(root, trials, log.append))
    assert states(client, trials) == ["Cancelling", "Scheduled", "Cancelled", "Scheduled"]
    become(client, running, Cancelled())
    anew.close()


def test_a_silent_worker_loses_its_trial_and_one_with_a_wrong_clock_does_not(
    root: Path, client: SyncPrefectClient, log: list[str]
) -> None:
    trials = trials_of("HEAD", 2)
    with closing(scheduler.run_on_workers(root, trials, log.append)) as loop:
        poll(loop)
        silent, alive = runs_of(client, trials)
        become(client, silent, Running())
        become(client, alive, Running(), worker="m2")
        until, hours_ago = time.monotonic() + 60, datetime.now(UTC) - timedelta(hours=5)
        while not any("no sign of life from m1" in line for line in log):
            assert time.monotonic() < until
            hours_ago += timedelta(seconds=1)
            beat(client, alive.id, hours_ago)
            poll(loop)
        poll(loop, 2)
        assert states(client, trials[:1]) == ["Crashed", "Scheduled"]
        assert not any("m2" in line and "no sign" in line for line in log)


def test_a_queue_without_a_worker_is_reported_once(root: Path, client: SyncPrefectClient, log: list[str]) -> None:
    trials = trials_of("HEAD", 2)
    with closing(scheduler.run_on_workers(root, trials, log.append)) as loop:
        poll(loop)
        late = runs_of(client, trials)
        for run in late:
            become(client, run, Scheduled(name="Late"))
        poll_until(loop, f"no worker serves queue {late[0].work_queue_name}", log)
        poll(loop, 6)
        assert len([line for line in log if "no worker serves" in line]) == 1


def test_the_status_lists_workers_and_states(root: Path, client: SyncPrefectClient, log: list[str]) -> None:
    pool = {"work_pool_name": flow_runs.POOL}
    client.request("POST", "/work_pools/{work_pool_name}/workers/heartbeat", path_params=pool, json={"name": "m9"})
    trials = trials_of("HEAD", 1)
    with closing(scheduler.run_on_workers(root, trials, log.append)) as loop:
        poll(loop)
        become(client, runs_of(client, trials)[0], Running(), worker="m9")
        found = status.read_status(client)
        (m9,) = (worker for worker in found.workers if worker.name == "m9")
        assert (m9.state, m9.running) == ("online", 1)
        assert found.states["Running"] >= 1
        assert "| m9 | online | 1 |" in re.sub(" +", " ", found.markdown())


def test_the_same_loop_runs_trials_here_side_by_side_each_with_its_share_and_ends_them(
    root: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: set[str] = set()
    most: list[int] = []

    def make(root: Path, trial: Trial, log: Callable[[str], None], own: Resources) -> bool:
        assert own.variables["number"] not in busy
        busy.add(own.variables["number"])
        most.append(len(busy))
        ended = processes.shutting_down.wait(60 if trial.seed == 9 else 0.5)
        busy.remove(own.variables["number"])
        if trial.seed == 1:
            raise RuntimeError("the loss must stay finite\nmore")
        return trial.seed != 2 and not ended

    monkeypatch.setattr(local, "run_trial", make)
    monkeypatch.setattr(local, "run_resources", lambda number, jobs: Resources(frozenset(), {"number": str(number)}))
    monkeypatch.setattr("flows.study.flow.get_run_logger", lambda: logging.getLogger("study"))
    trials = trials_of("HEAD", 10)

    @flow(persist_result=False)
    def some(chosen: list[Trial]) -> dict[str, str]:
        return study_flow.run_trials(root, chosen, study_flow.choose_executor("here", 2, print))

    assert some(trials[:4]) == {
        trials[1].name: "Task run encountered an exception RuntimeError: the loss must stay finite"
    }
    assert max(most) == 2

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


def test_runs_of_two_commits_have_their_inputs_pushed_and_their_own_queues(
    client: SyncPrefectClient, root: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[str] = []
    monkeypatch.setattr("flows.cluster.scheduler.sync.push_inputs", lambda root, commit: pushed.append(commit))
    commits = [git(root, "rev-parse", "HEAD").strip()]
    (root / "requirements.lock").write_text("numpy==3\n")
    git(root, *IDENTITY, "commit", "--quiet", "--all", "--message", "another library")
    commits.append(git(root, "rev-parse", "HEAD").strip())
    trials = [trial for commit in commits for trial in trials_of(commit, 1)]
    with closing(scheduler.run_on_workers(root, trials, log.append)) as loop:
        poll(loop)
        assert len({run.work_queue_name for run in runs_of(client, trials)}) == 2
    assert pushed == commits
