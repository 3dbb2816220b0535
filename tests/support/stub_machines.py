"""A lasting server whose trials no worker takes: tests set their states."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cluster.flow_runs import POOL
from flows.runs.trial import Trial
from tests.support.serving import free_port, wait_for


@flow(name="trial")
def stub(variant: str, seed: int, overrides: dict[str, Any], name: str, commit: str) -> None:
    """Stand for the flow that runs a trial."""


@contextmanager
def serving_trials(home: Path, database: str = "") -> Iterator[str]:
    """Start a server with the pool and the deployment of trials; return its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    variables = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    if database:
        variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success
        return False

    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=home, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        wait_for("the server", answers, 240)
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            client.create_deployment(
                client.create_flow(stub),
                "study",
                work_pool_name=POOL,
                parameter_openapi_schema={"type": "object", "properties": {}},
                enforce_parameter_schema=False,
            )
            yield url
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def trials_of(commit: str, count: int, mark: str = "") -> list[Trial]:
    """Trials that are named anew each time."""
    mark = mark or uuid4().hex[:8]
    overrides = {"train.precision": "float32", "train.device": "cpu", "train.threads": 1}
    return [Trial("none", n, overrides, f"none-seed{n}-{mark}", commit) for n in range(count)]


def runs_of(client: SyncPrefectClient, trials: list[Trial]) -> list[FlowRun]:
    """Read the flow runs of trials in the order of submission."""
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
