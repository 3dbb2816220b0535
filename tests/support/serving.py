"""A Prefect server and a worker in a scratch clone, driven by the README's commands and read through HTTP."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import ROOT
from tests.support.clone import Clone

CANCEL_SECONDS = 15
LONG = 10_000  # epochs: never to be finished


def heed_interrupts() -> None:
    """Let a child heed Ctrl-C, also where a shell runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port() -> int:
    """Find a port on which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(what: str, found: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.25)
    raise AssertionError(f"waited {seconds} s for {what}")


class Prefect:
    """A server of a clone, through its HTTP interface."""

    def __init__(self, clone: Clone, port: int):
        self.clone, self.api = clone, httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30)

    def healthy(self) -> bool:
        try:
            return self.api.get("/health").is_success
        except httpx.TransportError:
            return False

    def worked(self) -> bool:
        workers = self.api.post("/work_pools/local/workers/filter", json={}).raise_for_status().json()
        return any(worker["status"] == "ONLINE" for worker in workers)

    def read(self, kind: str, flow_run: str) -> list[dict[str, Any]]:
        ids = {"any_": [flow_run]}
        body = {"logs": {"flow_run_id": ids}} if kind == "logs" else {"flow_runs": {"id": ids}}
        found: list[dict[str, Any]] = self.api.post(f"/{kind}/filter", json=body).raise_for_status().json()
        return found

    def state(self, flow_run: str) -> str:
        name: str = self.api.get(f"/flow_runs/{flow_run}").raise_for_status().json()["state_name"]
        return name

    def completed(self, flow_run: str) -> bool:
        return self.state(flow_run) == "Completed"

    def tasks(self, flow_run: str) -> dict[str, str]:
        return {task_run["name"]: task_run["state_name"] for task_run in self.read("task_runs", flow_run)}

    def log(self, flow_run: str) -> list[str]:
        return [entry["message"] for entry in self.read("logs", flow_run)]

    def logged(self, flow_run: str, text: str) -> bool:
        return any(text in line for line in self.log(flow_run))

    def start(self, deployment: str = "pipeline/local", *arguments: str) -> str:
        output = self.clone.run("prefect", "deployment", "run", deployment, *arguments)
        (flow_run,) = re.findall(r"UUID: ([0-9a-f-]{36})", output)
        return str(flow_run)

    def wait_for_training(self, flow_run: str) -> None:
        wait_for("an epoch in the log", lambda: any(line.startswith("epoch ") for line in self.log(flow_run)))

    def cancel(self, flow_run: str) -> None:
        """Cancel a run, and check that its processes end in time."""
        self.clone.run("prefect", "flow-run", "cancel", flow_run)
        wait_for("the end of every child", lambda: not workers_of(self.clone), CANCEL_SECONDS)
        wait_for("the state Cancelled", lambda: self.state(flow_run) == "Cancelled", 30)

    def give_up(self, flow_run: str) -> None:
        """Change the state as the UI does."""
        body = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
        self.api.post(f"/flow_runs/{flow_run}/set_state", json=body).raise_for_status()


def workers_of(clone: Clone) -> list[str]:
    """List the commands of dvc and of steps in the clone and its worktrees."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        inside = (process.info["cwd"] or "").startswith(str(clone.path))
        if inside and ("-m tasks." in command or "dvc --wait-for-lock" in command):
            found.append(command)
    return found


# Harmless traces in Prefect's log: a write that lost a race in SQLite and is made again; a run that is cancelled before
# its flow is loaded, or while it starts; a step that a test killed, or a training that a test lets fail; a watch on a
# server that went away; a progress bar of DVC that the end of a run left half-made.
HOOKS = r"to execute on_cancellation hooks.*FileNotFoundError.*workspace\.json"
HARMLESS = re.compile(
    rf"database is locked|{HOOKS}|UnfinishedRun: Run is in CANCELLING state|exited with -9"
    r"|ValueError\W+diverged|FlowRunCancellingObserver|Service exceeded error threshold|Service 'EventsWorker' failed"
    r"|^Exception ignored in: <function tqdm\.__del__",
    re.DOTALL,
)


def _faults(log: str) -> list[str]:
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d{3} \||Exception ignored in: )", log, flags=re.MULTILINE)
    return [record for record in records if "Traceback" in record and not HARMLESS.search(record)]


@contextmanager
def running(clone: Clone, *command: str, log: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the background, and end it as Ctrl-C would."""
    log_file = clone.path.parent / f"{log or command[1].rsplit('/')[-1]}.log"
    with log_file.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=clone.path,
            env=clone.environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # a test may have ended it
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        logs = [log_file, clone.path / ".prefect/server.log"]
        assert not (found := [fault for log in logs if log.exists() for fault in _faults(log.read_text())]), found


@contextmanager
def serving(clone: Clone) -> Iterator[Prefect]:
    """Run the README's server and worker."""
    with deployed(clone) as made, running(clone, "make", "worker"):
        wait_for("the worker", made.worked)
        yield made


@contextmanager
def deployed(clone: Clone) -> Iterator[Prefect]:
    """Run the README's server with its deployments, and no worker."""
    port, venv = free_port(), clone.path / ".venv"
    with ExitStack() as stack:
        if not venv.exists():
            lock, ready = clone.path / "requirements.lock", Path(sys.prefix, "ready")
            assert ready.exists(), "make would take an environment that it did not make for a broken one"
            venv.symlink_to(sys.prefix)
            stack.callback(venv.unlink)
            shutil.copystat(ROOT / "requirements.lock", lock)
            assert lock.stat().st_mtime <= ready.stat().st_mtime, "make would install it again"
        made = Prefect(clone, port)
        stack.enter_context(running(clone, "make", "server", f"PORT={port}"))
        wait_for("the server", made.healthy)
        output = clone.run("make", "deploy")
        assert "Traceback" not in output
        yield made
