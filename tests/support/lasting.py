"""A lasting server and workers in scratch folders, whose trials train nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from flows.cluster.queues import CORDONED, libraries_name, queue_name
from flows.server import password
from tests.support.clone import Clone, copy_tracked
from tests.support.edits import substitute
from tests.support.serving import Prefect, running, wait_for

TRIAL = '''
import os
import time
from typing import Any

from prefect import flow, get_run_logger

from flows.host import resources


@flow(name="trial", persist_result=False)
def trial(variant: str, seed: int, overrides: dict[str, Any], name: str, commit: str) -> None:
    """Do what the variant is called, for as many seconds as the seed is."""
    get_run_logger().info("resources %s of %s", os.environ[resources.VARIABLE], os.environ["PREFECT__WORKER_NAME"])
    if variant == "failing training":
        raise ValueError("diverged")
    if variant == "broken machine":
        os._exit(3)
    time.sleep(seed)
'''


def scratch_machine(path: Path, cpu_flags: str | None = None) -> Clone:
    """Copy this repository, with another trial and some CPU flags."""
    copy_tracked(path)
    (path / "flows/cluster/trial.py").write_text(TRIAL)
    if cpu_flags is not None:
        cpuinfo = path.parent / f"{path.name}-cpuinfo"
        cpuinfo.write_text(f"processor : 0\nflags : {cpu_flags}\n")
        substitute(path / "tasks/device/cpu.py", 'Path("/proc/cpuinfo")', f"Path({str(cpuinfo)!r})")
    return Clone(path)


class Lasting(Prefect):
    """A lasting server, to which trials are given."""

    def __init__(self, clone: Clone, port: int, secret: str = ""):
        super().__init__(clone, port)
        self.url = f"http://127.0.0.1:{port}/api"
        if secret:
            self.api.auth = password.basic(secret)

    def submit(self, variant: str, seed: int = 0, queue: str | None = None) -> str:
        """Submit a trial; the queue defaults to float32 and these libraries."""
        deployment = self.api.get("/deployments/name/trial/study").raise_for_status().json()["id"]
        body = {
            "parameters": {"variant": variant, "seed": seed, "overrides": {}, "name": variant, "commit": ""},
            "work_queue_name": queue or queue_name("float32", "auto", lock_of(self.clone)),
            "state": {"type": "SCHEDULED"},
            "idempotency_key": str(uuid4()),
        }

        def create() -> Any:  # again where SQLite was locked, as Prefect's own client does
            answer = self.api.post(f"/deployments/{deployment}/create_flow_run", json=body)
            return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE and answer.raise_for_status().json()

        return str(wait_for("the server to take a trial", create)["id"])

    def await_state(self, flow_run: str, name: str, seconds: float = 180) -> None:
        wait_for(f"the state {name}", lambda: self.state(flow_run) == name, seconds)

    def cordoned(self) -> dict[str, str]:
        answer = self.api.get(f"/variables/name/{CORDONED}")
        return dict(answer.json()["value"]) if answer.is_success else {}

    def is_online(self, machine: str) -> bool:
        answer = self.api.post("/work_pools/study/workers/filter", json={})
        workers = answer.json() if answer.is_success else []
        return any(worker["name"] == machine and worker["status"] == "ONLINE" for worker in workers)

    def deployment(self, name: str) -> str:
        return json.dumps(self.api.get(f"/deployments/name/{name}").raise_for_status().json())


def lock_of(clone: Clone) -> str:
    return libraries_name((clone.path / "requirements.lock").read_bytes())


@contextmanager
def lasting(clone: Clone, port: int, *options: str, secret: str = "") -> Iterator[Lasting]:
    command = [sys.executable, "-m", "flows.server", "--port", str(port), *options]
    with running(clone, *command, log="server"):
        made = Lasting(clone, port, secret)
        wait_for("the server", made.healthy)
        yield made


@contextmanager
def working(server: Lasting, clone: Clone, *options: str, name: str = "machine") -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of another clone, and wait until it is online."""
    command = [sys.executable, "-m", "flows.cluster.worker", "--server", server.url, "--name", name, *options]
    with running(clone, *command, log=name) as process:
        wait_for("the worker", lambda: process.poll() is not None or server.is_online(name))
        assert process.poll() is None, log_of(clone, name)
        yield process


def log_of(clone: Clone, name: str) -> str:
    return (clone.path.parent / f"{name}.log").read_text()


def refused(clone: Clone, *command: str, status: int, **variables: str) -> str:
    """Run a command that is refused; return its one line."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=clone.path,
        env={**clone.environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("starting ")]
    return line
