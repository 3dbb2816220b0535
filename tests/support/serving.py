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
    """For a child: a shell that runs the tests in the background has told them to ignore Ctrl-C."""
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
    """A server in the clone, through its HTTP interface."""

    def __init__(self, clone: Clone, port: int):
        self.clone, self.api = clone, httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30)

    def healthy(self) -> bool:
        try:
            return self.api.get("/health").is_success
        except httpx.TransportError:
            return False

    def worked(self) -> bool:
        """Whether a worker is there and polls."""
        workers = self.api.post("/work_pools/local/workers/filter", json={}).raise_for_status().json()
        return any(worker["status"] == "ONLINE" for worker in workers)

    def read(self, kind: str, flow_run: str) -> list[dict[str, Any]]:
        key = "flow_run_id" if kind == "logs" else "flow_runs"
        criterion = {"any_": [flow_run]} if kind == "logs" else {"id": {"any_": [flow_run]}}
        body = {"logs": {key: criterion}} if kind == "logs" else {key: criterion}
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
        """Whether a text is in the log; the last lines arrive shortly after a run has ended."""
        return any(text in line for line in self.log(flow_run))

    def start(self, deployment: str = "pipeline/local", *arguments: str) -> str:
        output = self.clone.run("prefect", "deployment", "run", deployment, *arguments)
        (flow_run,) = re.findall(r"UUID: ([0-9a-f-]{36})", output)
        return str(flow_run)

    def wait_for_training(self, flow_run: str) -> None:
        """Until an epoch is in its log; the first or a later one, as a training goes on where it was cut short."""
        wait_for("an epoch in the log", lambda: any(line.startswith("epoch ") for line in self.log(flow_run)))

    def cancel(self, flow_run: str) -> None:
        """Cancel a run; all its processes are gone in time."""
        self.clone.run("prefect", "flow-run", "cancel", flow_run)
        wait_for("the end of every child", lambda: not workers_of(self.clone), CANCEL_SECONDS)
        wait_for("the state Cancelled", lambda: self.state(flow_run) == "Cancelled", 30)

    def give_up(self, flow_run: str) -> None:
        """What the UI's "Change state" does."""
        body = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
        self.api.post(f"/flow_runs/{flow_run}/set_state", json=body).raise_for_status()


def workers_of(clone: Clone) -> list[str]:
    """Command lines of dvc and of steps that run in the clone or in one of its worktrees."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        inside = (process.info["cwd"] or "").startswith(str(clone.path))
        if inside and ("-m tasks." in command or "dvc --wait-for-lock" in command):
            found.append(command)
    return found


# Traces in Prefect's own log that are no faults: it makes a write again that lost a race in SQLite, and a run that is
# cancelled before its flow was loaded cannot be asked for cancellation hooks, of which this project has none. One that
# is cancelled in the moment in which it starts ends its process with a trace, before any of this project's code runs.
# And a step that a test killed fails its task, a training that a test lets fail its flow; and who asks a server that
# went away for cancellations tells how that failed. Where the end of a run comes while DVC makes a progress bar, Python
# tells of the half-made bar: a record of its own, so that what else ended the run is still seen.
HOOKS = r"to execute on_cancellation hooks.*FileNotFoundError.*workspace\.json"
HARMLESS = re.compile(
    rf"database is locked|{HOOKS}|UnfinishedRun: Run is in CANCELLING state|exited with -9"
    r"|ValueError\W+diverged|FlowRunCancellingObserver|Service exceeded error threshold|Service 'EventsWorker' failed"
    r"|^Exception ignored in: <function tqdm\.__del__",
    re.DOTALL,
)


def _faults(log: str) -> list[str]:
    """Records of a log with a trace, but for Prefect's own harmless ones."""
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d{3} \||Exception ignored in: )", log, flags=re.MULTILINE)
    return [record for record in records if "Traceback" in record and not HARMLESS.search(record)]


@contextmanager
def running(clone: Clone, *command: str, log: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background, ended like Ctrl-C in its terminal would."""
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
    """The README's server and worker."""
    with deployed(clone) as made, running(clone, "make", "worker"):
        wait_for("the worker", made.worked)
        yield made


@contextmanager
def deployed(clone: Clone) -> Iterator[Prefect]:
    """The README's server, with its deployments and nobody who runs them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    venv = clone.path / ".venv"
    with ExitStack() as stack:
        if not venv.exists():
            assert Path(sys.prefix, "ready").exists(), (
                "make would take an environment that it did not make for a broken one"
            )
            venv.symlink_to(sys.prefix)
            stack.callback(venv.unlink)
            shutil.copystat(ROOT / "requirements.lock", clone.path / "requirements.lock")  # or make installs it again
            lock, ready = clone.path / "requirements.lock", Path(sys.prefix, "ready")
            assert lock.stat().st_mtime <= ready.stat().st_mtime, "make would install it again"
        made = Prefect(clone, port)
        stack.enter_context(running(clone, "make", "server", f"PORT={port}"))
        wait_for("the server", made.healthy)
        output = clone.run("make", "deploy")
        assert "Traceback" not in output
        yield made
