"""A trial: run in one clone, applied in another; its flow's states."""

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any
from uuid import UUID

import pytest
from filelock import Timeout
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Abort

from flows.cluster import sync
from flows.cluster import trial as trial_module
from flows.cluster.trial import REMOTE, trial
from flows.pipeline import machines as run_on_workers
from flows.repo.staleness import stale_reasons
from flows.runs import experiments
from flows.runs.processes import shutting_down
from flows.runs.trial import PLACEHOLDER, TRIAL_STAGES, Trial, run_trial
from flows.study import plan
from tests.support import machines
from tests.support.edits import substitute
from tests.support.machines import EVERYTHING, Meeting
from tests.support.own_images import write_files
from tests.support.toy_pipeline import commit, dvc, git

pytestmark = pytest.mark.slow
SECRET = secrets.token_hex(16)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def going_on() -> Iterator[None]:
    yield
    shutting_down.clear()


def apply(meeting: Meeting, made: Trial) -> None:
    if made.name in meeting.references():
        dvc(meeting.head, "exp", "pull", "origin", made.name)
    dvc(meeting.head, "exp", "apply", made.name)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_what_one_clone_made_another_applies_with_its_model(meeting: Meeting, place: str) -> None:
    with machines.bucket() if place == "bucket" else nullcontext() as port:
        if port:
            meeting.use_bucket(port, SECRET)
        planned, log = meeting.submit(), list[str]()
        assert run_trial(meeting.machine("other"), planned, log.append, EVERYTHING, REMOTE)
        assert not run_trial(meeting.head, planned, log.append, EVERYTHING, REMOTE)
        assert sum("Running stage 'train'" in line for line in log) == 1
        assert "exchanged with the remotes in" in log[-1]
        assert sync.fetch_experiments(meeting.head).keys() == {planned.name}
        assert not (meeting.head / "model").exists()
        apply(meeting, planned)
        assert (meeting.head / "model").read_text() == "weights\n"
        assert "up to date" in dvc(meeting.head, "status", *TRIAL_STAGES)
        meeting.assert_each_is_complete()
    made = meeting.references()[planned.name]
    host = git(meeting.head, "log", "-1", "--format=%(trailers:key=Machine,valueonly)", made)
    assert host.strip().endswith(" cores")
    assert host.count(";") == 2
    assert SECRET not in "".join(log)
    for ref in (made, planned.commit):
        assert SECRET not in git(meeting.bare, "show", ref)
    assert not [path for path in meeting.bare.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("there", ["nothing", "other images"])
def test_own_images_travel_as_the_head_packed_them(meeting: Meeting, there: str) -> None:
    substitute(meeting.head / "dvc.yaml", "images: curve.csv", "images: own")
    (meeting.head / ".gitignore").open("a").write("/own\n")
    write_files(meeting.head / "own", {"rose.jpg": b"a rose"})
    dvc(meeting.head, "repro", "--quiet")
    commit(meeting.head, "own images")
    other, asked, said = meeting.machine("other"), meeting.plan(), list[str]()
    if there == "other images":
        write_files(other / "own", {"tulip.jpg": b"a tulip"})
    sync.push_inputs(meeting.head, asked.commit)
    assert run_trial(other, asked, said.append, EVERYTHING, REMOTE)
    assert not any("Running stage 'download'" in line for line in said)
    apply(meeting, asked)
    assert (meeting.head / "data/normalized/batch").read_text() == "rose.jpg\n"
    assert "up to date" in dvc(meeting.head, "status", *TRIAL_STAGES)


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_trial_is_reported_on_demand_without_training(meeting: Meeting, is_remote: bool) -> None:
    """It never shows the page of the commit that it starts from."""
    dvc(meeting.head, "checkout")
    page = meeting.head / "reports/index.html"
    before = page.read_text()
    (asked,), said = plan.plan(meeting.head, ["none"], 1, {"train.epochs": 7}), list[str]()
    if is_remote:
        sync.push_inputs(meeting.head, asked.commit)
    place = meeting.machine("other") if is_remote else meeting.head
    assert run_trial(place, asked, said.append, EVERYTHING, REMOTE if is_remote else None)
    assert [line for line in said if "Running stage" in line][-1] == "Running stage 'evaluate':"
    apply(meeting, asked)
    assert page.read_text() == PLACEHOLDER
    assert not (meeting.head / "reports/evaluation/per_class.csv").exists()
    reasons = {name: list(map(str, found)) for name, found in stale_reasons(meeting.head).items() if found}
    left_out = ("export", "report", "describe")
    assert reasons == {name: ["on demand: the run that is here left it out"] for name in left_out}
    assert json.loads(dvc(meeting.head, "status", "--json")).keys() == {*left_out}
    ran = dvc(meeting.head, "repro")
    assert [line for line in ran.splitlines() if "Running stage" in line] == [
        f"Running stage '{name}':" for name in left_out
    ]
    assert page.read_text() == "page of 7 epochs" != before
    assert "up to date" in dvc(meeting.head, "status")


def test_of_two_in_one_clone_one_waits_and_finds_the_trial(meeting: Meeting) -> None:
    asked, said = meeting.plan(), list[str]()
    with ThreadPoolExecutor() as both:
        made = both.map(lambda _: run_trial(meeting.head, asked, said.append, EVERYTHING), range(2))
        assert sorted(made) == [False, True]
    assert sum("Running stage 'train'" in line for line in said) == 1


def test_a_wait_for_the_same_trial_ends_with_everything_else(meeting: Meeting) -> None:
    asked = meeting.plan()
    with (
        experiments.isolated_worktree(meeting.head, {}, asked.name),
        ThreadPoolExecutor() as other,
    ):
        waits = other.submit(run_trial, meeting.head, asked, print, EVERYTHING)
        time.sleep(1)
        assert not waits.done()
        shutting_down.set()
        with pytest.raises(Timeout):
            waits.result(10)


def flow_run(asked: Trial) -> State[Any]:
    state: State[Any] = trial(asked.variant, asked.seed, asked.overrides, asked.name, asked.commit, return_state=True)
    return state


@pytest.mark.usefixtures("server")
def test_the_state_says_whether_the_training_or_the_machine_failed(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = meeting.submit()
    monkeypatch.chdir(meeting.head)
    assert flow_run(planned).name == "Completed"
    assert flow_run(planned).name == "Cached"
    failing = break_step(meeting, "raise SystemExit('must stay finite')")
    failed = flow_run(failing)
    assert (failed.name, "evaluate" in (failed.message or "")) == ("Failed", True)
    meeting.configure(meeting.head, "")
    crashed = flow_run(failing)
    assert crashed.name == "Crashed"
    assert "`dvc remote add --default store URL`" in (crashed.message or "")


def break_step(meeting: Meeting, code: str) -> Trial:
    """Change the code of the last stage, and plan a trial."""
    (meeting.head / "step.py").write_text(code)
    commit(meeting.head, "another step")
    return meeting.submit()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("given", "ends"), [("CANCELLING", "Cancelled"), ("CRASHED", "Crashed")])
def test_a_trial_ends_when_its_state_changed_behind_its_back(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, given: str, ends: str
) -> None:
    asked = break_step(meeting, "import time; print('begun', flush=True); time.sleep(600)")
    monkeypatch.chdir(meeting.head)
    monkeypatch.setattr(trial_module, "LOOK_SECONDS", 0.5)

    def change_state() -> None:
        with get_client(sync_client=True) as client:
            while not (runs := client.read_flow_runs(flow_run_filter=_running())):
                time.sleep(0.5)
            time.sleep(10)  # until it trains, or on the way there
            client.set_flow_run_state(runs[0].id, State(type=StateType(given)), force=True)
            begun.append(runs[0].id)

    begun: list[UUID] = []
    behind = threading.Thread(target=change_state)
    behind.start()
    started = time.monotonic()
    with suppress(Abort):  # which Prefect ends a run by whose state is final already
        flow_run(asked)
    behind.join()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(begun[0]).state_name == ends
    assert time.monotonic() - started < 120  # of the step's ten minutes
    assert not meeting.references()


def _running() -> FlowRunFilter:
    return FlowRunFilter(state={"type": {"any_": ["RUNNING"]}})  # type: ignore[arg-type]


@pytest.mark.usefixtures("server")
def test_a_pipeline_on_a_machine_is_published_from_the_remotes_head(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync.push_inputs(meeting.head, meeting.commit())
    other = meeting.machine("other")
    (other / "params.yaml").write_text("edited and never looked at")
    monkeypatch.chdir(other)
    assert run_on_workers.pipeline()["train"]["accuracy"] == pytest.approx(0.9)
    (made,) = meeting.references()
    assert run_on_workers.pipeline({"train.seed": 1})["train"]["accuracy"] == pytest.approx(0.85)
    assert len(meeting.references()) == 2
    assert (other / "params.yaml").read_text() == "edited and never looked at"
    assert os.listdir(other / experiments.WORKTREES) == [".git.lock"]  # noqa: PTH208
    meeting.assert_each_is_complete()
    assert made in sync.fetch_experiments(meeting.head)
