"""The flow runs of trials on the server, and the heartbeats of those that run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

DEPLOYMENT = "trial/study"
POOL = "study"
PAGE = 200  # flow runs that Prefect returns at once
OPEN = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
CLOCK_ERROR = timedelta(days=1)  # no worker's clock is as wrong as this


class FlowRuns:
    """Read the flow runs of deployment `trial/study`.

    Raises
    ------
    RuntimeError
        If the server has no such deployment.
    """

    def __init__(self, client: SyncPrefectClient):
        self._client = client
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT).id
        except ObjectNotFound:
            raise RuntimeError(f"the server must know {DEPLOYMENT}; it does not; run `make deploy`") from None
        self._deployment = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

    def by_id(self, ids: list[UUID]) -> list[FlowRun]:
        """Read the flow runs with these ids."""
        return self._read_all({"id": {"any_": ids}}) if ids else []

    def by_name(self, names: list[str]) -> list[FlowRun]:
        """Read the flow runs of the trials with these names."""
        return self._read_all({"name": {"any_": names}}) if names else []

    def open(self) -> list[FlowRun]:
        """Read the flow runs that have not ended."""
        return self._read_all({"state": {"type": {"any_": OPEN}}})

    def completed_lately(self) -> list[FlowRun]:
        """Read a page of completed flow runs, the newest first."""
        completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
        return self._read_page(completed, sort=FlowRunSort.END_TIME_DESC)

    def _read_all(self, criteria: dict[str, Any]) -> list[FlowRun]:
        runs: list[FlowRun] = []
        while page := self._read_page(criteria, offset=len(runs)):
            runs += page
            if len(page) < PAGE:
                break
        return runs

    def _read_page(self, criteria: dict[str, Any], **options: Any) -> list[FlowRun]:
        return self._client.read_flow_runs(
            deployment_filter=self._deployment,
            flow_run_filter=FlowRunFilter.model_validate(criteria),
            limit=PAGE,
            **options,
        )

    def last_heartbeats(self, ids: list[UUID]) -> dict[UUID, str]:
        """Read when each flow run last gave a heartbeat, by its worker's clock."""
        if not ids:
            return {}
        now = datetime.now(UTC)
        criteria = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run}" for run in ids]},
            "occurred": {"since": (now - CLOCK_ERROR).isoformat(), "until": (now + CLOCK_ERROR).isoformat()},
        }
        answer = self._client.request(
            "POST", "/events/count-by/{countable}", path_params={"countable": "resource"}, json={"filter": criteria}
        )
        return {UUID(count["value"].rpartition(".")[2]): count["end_time"] for count in answer.json()}


def worker_of(run: FlowRun) -> str:
    """Name the worker that took a flow run."""
    return str(run.labels.get("prefect.worker.name", "no worker"))
