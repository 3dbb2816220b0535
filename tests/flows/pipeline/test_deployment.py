"""Server, worker and deployments: runs, cancellations, schedules, two clones."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.clone import Clone, add_remotes, forget_remotes
from tests.support.docs import PAGES, commands
from tests.support.edits import substitute
from tests.support.import_graph import STAGES
from tests.support.serving import CANCEL_SECONDS, LONG, Prefect, heed_interrupts, serving, wait_for, workers_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prefect(clone: Clone) -> Iterator[Prefect]:
    """The README's server and worker, on a fresh database."""
    assert {"make server", "make deploy", "make worker"} <= set(commands(PAGES["docs/flows.md"]))
    with serving(clone) as made:
        yield made
    assert not (clone.path / "prefect.toml").exists()
    storage = clone.path / ".prefect/storage"
    assert not storage.exists() or not list(storage.iterdir()), "results must not pile up"


def test_the_readmes_runs_finish_and_say_what_they_did(prefect: Prefect) -> None:
    for line in commands(PAGES["docs/flows.md"]):
        if line.startswith("prefect deployment run"):
            assert "Flow run finished successfully" in prefect.clone.run("bash", "-c", line)
    body = {"sort": "EXPECTED_START_TIME_ASC"}
    plain, isolated = (run["id"] for run in prefect.api.post("/flow_runs/filter", json=body).json())
    assert prefect.tasks(plain) == dict.fromkeys(STAGES, "Cached")
    assert prefect.tasks(isolated) == dict.fromkeys(STAGES, "Completed")
    wait_for("the end of the log", partial(prefect.logged, isolated, "kept as a DVC experiment"))
    assert len([line for line in prefect.log(isolated) if line.startswith("epoch ")]) == 3
    artifacts = {artifact["key"] for artifact in prefect.read("artifacts", isolated)}
    assert artifacts == {"summary", "comparison", "per-class"}
    assert prefect.clone.run("git", "status", "--porcelain") == ""


def test_cancelling_an_isolated_run_ends_its_children_and_removes_its_worktree(prefect: Prefect) -> None:
    flow_run = prefect.start("pipeline/local", "--param", f'overrides={{"train.epochs": {LONG}}}')
    prefect.wait_for_training(flow_run)
    prefect.cancel(flow_run)
    wait_for("the end of the worktree", lambda: "worktrees" not in prefect.clone.run("git", "worktree", "list"), 10)
    assert prefect.clone.run("git", "status", "--porcelain") == ""


def test_a_run_of_the_workspace_keeps_others_out_and_cancelling_it_leaves_no_lock(prefect: Prefect) -> None:
    clone = prefect.clone
    clone.edit(train__epochs=LONG)
    first = prefect.start()
    prefect.wait_for_training(first)
    second = prefect.start()
    wait_for("the second run in the queue", lambda: prefect.state(second) == "AwaitingConcurrencySlot")
    busy = clone.run("dvc", "repro", status=255)
    assert "is busy, it is being blocked by" in busy
    assert len([command for command in workers_of(clone) if "tasks.train" in command]) == 1
    clone.run("prefect", "flow-run", "delete", second)
    prefect.cancel(first)
    clone.run("git", "checkout", "--quiet", "params.yaml")
    assert "Stage 'train' is cached - skipping run" in clone.run("dvc", "repro")
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.timing
def test_ctrl_c_ends_a_run_and_everything_below_it(clone: Clone) -> None:
    clone.reset()
    clone.edit(train__epochs=LONG)
    command = [sys.executable, "-u", "-m", "flows.pipeline"]
    with subprocess.Popen(
        command,
        cwd=clone.path,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch " in line:
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        rest = process.stdout.read()
        assert process.wait() == 130, rest
    assert time.monotonic() - started < CANCEL_SECONDS
    assert "\nerror: interrupted; every child was ended" in rest
    assert not workers_of(clone)


def test_the_documented_line_is_a_schedule(prefect: Prefect) -> None:
    file = prefect.clone.path / "prefect.yaml"
    file.write_text(re.sub(r"schedules: \[\] # .*: \[", "schedules: [", file.read_text()))
    prefect.clone.run("make", "deploy")

    def starts() -> list[str]:
        body = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        return [run["expected_start_time"] for run in prefect.api.post("/flow_runs/filter", json=body).json()]

    assert "T03:00:00Z" in wait_for("a run in the calendar", starts)[0]
    prefect.clone.run("git", "checkout", "--quiet", "prefect.yaml")

    def is_empty() -> bool:
        """Deploy again: Prefect's scheduler may have had a run in hand."""
        prefect.clone.run("make", "deploy")
        return not starts()

    wait_for("an empty calendar", is_empty)


def test_the_schedule_of_another_project_on_the_server_stays(prefect: Prefect) -> None:
    """Its deployment may have any name of ours."""
    flow = prefect.api.post("/flows/", json={"name": "theirs"}).raise_for_status().json()["id"]
    schedules = [{"schedule": {"cron": "0 5 * * *"}, "active": False}]
    body = {"name": "local", "flow_id": flow, "entrypoint": "flows/theirs.py:theirs", "schedules": schedules}
    deployment = prefect.api.post("/deployments/", json=body).raise_for_status().json()["id"]
    prefect.clone.run("make", "deploy")
    assert len(prefect.api.get(f"/deployments/{deployment}").json()["schedules"]) == 1
    prefect.api.delete(f"/deployments/{deployment}").raise_for_status()


def test_two_clones_serve_at_once_and_each_runs_its_own_code(prefect: Prefect, tmp_path: Path) -> None:
    first = prefect.clone
    first.reset()
    first.run("git", "clone", "--quiet", str(first.path), str(tmp_path / "second"))
    second = Clone(tmp_path / "second")
    second.run("dvc", "config", "--local", "cache.dir", str(first.path / ".dvc/cache"))
    second.run("dvc", "checkout", "--quiet")
    substitute(second.path / "flows/results/summary.py", "generalization gap", "the second clone's gap")  # of no stage
    with serving(second) as other:
        runs = {server: server.start() for server in (prefect, other)}
        for server, flow_run in runs.items():
            wait_for("the end of the run", partial(server.completed, flow_run))
            assert server.tasks(flow_run) == dict.fromkeys(STAGES, "Cached")
        wait_for("the summary", partial(prefect.logged, runs[prefect], "generalization gap"))
        wait_for("the summary of the second clone", partial(other.logged, runs[other], "the second clone's gap"))


def test_a_release_runs_as_a_deployment_too(prefect: Prefect, tmp_path: Path) -> None:
    prefect.clone.reset()
    bare = add_remotes(prefect.clone, tmp_path)
    flow_run = prefect.start("release/local", "--param", "stage=prod")
    wait_for("the end of the release", partial(prefect.completed, flow_run))
    (listed,) = (one["data"] for one in prefect.read("artifacts", flow_run) if one["key"] == "releases")
    assert "| v1.0.0  | prod" in listed
    assert "refs/tags/classifier#prod#1" in prefect.clone.run("git", "ls-remote", "--tags", str(bare))
    forget_remotes(prefect.clone)
    prefect.clone.reset()


def test_a_study_runs_as_a_deployment_too(prefect: Prefect) -> None:
    settings = {"normalize.train_images": 500, "model.filters": [4, 4, 4], "train.epochs": 1}
    parameters = {"variants": ["none", "dropout"], "seeds": 1, "settings": settings}
    given = [part for key, value in parameters.items() for part in ("--param", f"{key}={json.dumps(value)}")]
    flow_run = prefect.start("study/local", *given)
    wait_for("the end of the study", lambda: prefect.completed(flow_run), 300)
    (text,) = (one["data"] for one in prefect.read("artifacts", flow_run) if one["key"] == "study")
    assert "| dropout |" in text
