"""Server, worker and deployment for real: the README's commands, read back from the API, and what cancelling leaves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import Clone
from tests.test_house import STAGES
from tests.test_readme import commands, section

pytestmark = pytest.mark.slow

CANCEL_SECONDS = 15
LONG = 10_000  # epochs: never to be finished


def wait_for(what: str, found: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.25)
    raise AssertionError(f"waited {seconds} s for {what}")


class Prefect:
    """A server in the clone, through its HTTP interface."""

    def __init__(self, clone: Clone, port: int):
        self.clone, self.api = clone, httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30)

    def read(self, kind: str, flow_run: str) -> list[dict[str, Any]]:
        key = "flow_run_id" if kind == "logs" else "flow_runs"
        criterion = {"any_": [flow_run]} if kind == "logs" else {"id": {"any_": [flow_run]}}
        body = {"logs": {key: criterion}} if kind == "logs" else {key: criterion}
        found: list[dict[str, Any]] = self.api.post(f"/{kind}/filter", json=body).raise_for_status().json()
        return found

    def state(self, flow_run: str) -> str:
        name: str = self.api.get(f"/flow_runs/{flow_run}").raise_for_status().json()["state_name"]
        return name

    def tasks(self, flow_run: str) -> dict[str, str]:
        return {task_run["name"]: task_run["state_name"] for task_run in self.read("task_runs", flow_run)}

    def log(self, flow_run: str) -> list[str]:
        return [entry["message"] for entry in self.read("logs", flow_run)]

    def start(self, deployment: str = "pipeline/local", *arguments: str) -> str:
        output = self.clone.run("prefect", "deployment", "run", deployment, *arguments)
        (flow_run,) = re.findall(r"UUID: ([0-9a-f-]{36})", output)
        return str(flow_run)

    def wait_for_training(self, flow_run: str) -> None:
        wait_for("an epoch in the log", lambda: any(line.startswith("epoch 1/") for line in self.log(flow_run)))

    def cancel(self, flow_run: str) -> None:
        """Cancel a run; all its processes are gone in time."""
        self.clone.run("prefect", "flow-run", "cancel", flow_run)
        wait_for("the end of every child", lambda: not workers_of(self.clone), CANCEL_SECONDS)
        wait_for("the state Cancelled", lambda: self.state(flow_run) == "Cancelled", 30)


def workers_of(clone: Clone) -> list[str]:
    """Command lines of dvc and of steps that run in the clone or in one of its worktrees."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        inside = (process.info["cwd"] or "").startswith(str(clone.path))
        if inside and ("-m tasks." in command or "dvc --wait-for-lock" in command):
            found.append(command)
    return found


@contextmanager
def running(clone: Clone, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background, ended like Ctrl-C in its terminal would."""
    log = clone.path.parent / f"{command[1].rsplit('/')[-1]}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=clone.path, env=clone.environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def prefect(clone: Clone) -> Iterator[Prefect]:
    """The README's server and worker, on a fresh database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    venv = clone.path / ".venv"
    venv.symlink_to(sys.prefix)
    lines = commands(section("Flows"))
    assert {"make server", "make deploy", "make worker"} <= set(lines)
    with running(clone, "make", "server", f"PORT={port}"):
        made = Prefect(clone, port)

        def healthy() -> bool:
            try:
                return made.api.get("/health").is_success
            except httpx.TransportError:
                return False

        wait_for("the server", healthy)
        output = clone.run("make", "deploy")
        assert "Traceback" not in output
        with running(clone, "make", "worker"):
            yield made
    assert not (clone.path / "prefect.toml").exists()
    storage = clone.path / ".prefect/storage"
    assert not storage.exists() or not list(storage.iterdir()), "results must not pile up"
    venv.unlink()


def test_the_readmes_runs_finish_and_say_what_they_did(prefect: Prefect) -> None:
    for line in commands(section("Flows")):
        if line.startswith("prefect deployment run"):
            assert "Flow run finished successfully" in prefect.clone.run("bash", "-c", line)
    body = {"sort": "EXPECTED_START_TIME_ASC"}
    plain, apart = (run["id"] for run in prefect.api.post("/flow_runs/filter", json=body).json())
    assert prefect.tasks(plain) == dict.fromkeys(STAGES, "Cached")
    assert prefect.tasks(apart) == dict.fromkeys(STAGES, "Completed")
    log = prefect.log(apart)
    assert len([line for line in log if line.startswith("epoch ")]) == 3
    assert any("kept as a DVC experiment" in line for line in log)
    artifacts = {artifact["key"] for artifact in prefect.read("artifacts", apart)}
    assert artifacts == {"summary", "metrics-difference", "per-class", "train-progress"}
    assert prefect.clone.run("git", "status", "--porcelain") == ""


def test_cancelling_a_run_apart_ends_its_children_and_removes_its_worktree(prefect: Prefect) -> None:
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


def test_cancelling_a_served_flow_ends_its_children(prefect: Prefect) -> None:
    code = "from flows.pipeline import pipeline; pipeline.serve(name='served', print_starting_message=False)"
    with running(prefect.clone, sys.executable, "-c", code):
        wait_for(
            "the served deployment",
            lambda: prefect.api.get("/deployments/name/pipeline/served").is_success,
        )
        flow_run = prefect.start("pipeline/served", "--param", f'overrides={{"train.epochs": {LONG}}}')
        prefect.wait_for_training(flow_run)
        prefect.cancel(flow_run)


def test_ctrl_c_ends_a_run_and_everything_below_it(clone: Clone) -> None:
    clone.reset()
    clone.edit(train__epochs=LONG)
    command = [sys.executable, "-u", "-m", "flows.pipeline"]
    with subprocess.Popen(
        command, cwd=clone.path, env=clone.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 1/" in line:
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        rest = process.stdout.read()
        assert process.wait() == 130
    assert time.monotonic() - started < CANCEL_SECONDS
    assert rest.splitlines()[-1].startswith("error: interrupted; every child was ended")
    assert not workers_of(clone)


def test_each_clone_keeps_its_own_server_and_deployments(clone: Clone) -> None:
    home = clone.run("prefect", "config", "view", "--show-sources", "--hide-defaults")
    assert re.search(r"PREFECT_HOME='\.prefect'.*pyproject", home)
    assert not [
        line for line in (clone.path / "prefect.yaml").read_text().splitlines() if Path.home().as_posix() in line
    ]
