"""A lasting server whose trials no worker takes: tests set their states."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cluster.flow_runs import POOL
from flows.runs.trial import Trial
from tests.support.serving import free_port, wait_for


@flow(name="trial")
def stub(variant: str, seed: int, overrides: dict[str, Any], name: str, commit: str) -> None:
    """Stand for the flow that runs a trial."""


@dataclass
class Server:
    """A server in its own folder, which can end and start again."""

    home: Path
    database: str = ""  # the address of another than SQLite
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        variables = {"PREFECT_HOME": str(self.home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        if self.database:
            variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = self.database
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.home, env={**os.environ, **variables}, stdout=log, stderr=log
            )
        wait_for("the server", self.answers, 240)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def end(self) -> None:
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


@contextmanager
def serving_trials(home: Path, database: str = "") -> Iterator[Server]:
    """Start a server with the pool and the deployment of trials."""
    server = Server(home, database)
    try:
        server.start()
        with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            client.create_deployment(
                client.create_flow(stub),
                "study",
                work_pool_name=POOL,
                parameter_openapi_schema={"type": "object", "properties": {}},
                enforce_parameter_schema=False,
            )
            yield server
    finally:
        server.end()


def trials_of(commit: str, count: int, mark: str = "") -> list[Trial]:
    """Trials that are named anew each time."""
    mark = mark or uuid4().hex[:8]
    overrides = {"train.precision": "float32", "train.device": "cpu", "train.threads": 1}
    return [Trial("none", n, overrides, f"none-seed{n}-{mark}", commit) for n in range(count)]


def runs_of(client: SyncPrefectClient, trials: list[Trial]) -> list[FlowRun]:
    """Read the flow runs of trials in the order of submission."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    named = FlowRunFilter(name=FlowRunFilterName(any_=[trial.name for trial in trials]))
    found = client.read_flow_runs(flow_run_filter=named, sort=FlowRunSort.ID_DESC)
    return sorted(found, key=lambda run: (run.name, run.idempotency_key or ""))


def become(client: SyncPrefectClient, run: FlowRun, *states: State[Any], worker: str = "m1") -> None:
    """Take a flow run through states, as a worker does."""
    client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)


def beat(client: SyncPrefectClient, run: UUID, occurred: datetime | None = None) -> None:
    """Send a heartbeat; a worker's clock may be wrong."""
    event = {
        "occurred": (occurred or datetime.now(UTC)).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "id": str(uuid4()),
    }
    client.request("POST", "/events", json=[event])
