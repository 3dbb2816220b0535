"""Flow runs of trials on the server, and their heartbeats."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound

DEPLOYMENT = "trial/study"
POOL = "study"
PAGE = 200  # flow runs that Prefect returns at once
CLOCK_ERROR = timedelta(days=1)  # no worker's clock is as wrong as this


class FlowRuns:
    """Read the flow runs of deployment `trial/study`."""

    def __init__(self, client: SyncPrefectClient):
        self._client = client
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT).id
        except ObjectNotFound:
            raise RuntimeError(f"the server must know {DEPLOYMENT}; it does not; run `make deploy`") from None
        self._deployment = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

    def read(self, criteria: dict[str, Any]) -> list[FlowRun]:
        """Read all flow runs that fit one of Prefect's filters."""
        page = runs = self.read_page(criteria)
        while len(page) == PAGE:
            page = self.read_page(criteria, offset=len(runs))
            runs = runs + page
        return runs

    def read_page(self, criteria: dict[str, Any], **options: Any) -> list[FlowRun]:
        """Read the first flow runs that fit a filter."""
        return self._client.read_flow_runs(
            deployment_filter=self._deployment,
            flow_run_filter=FlowRunFilter.model_validate(criteria),
            limit=PAGE,
            **options,
        )

    def last_heartbeats(self, ids: list[UUID]) -> dict[UUID, str]:
        """Read the time of each run's last heartbeat, by its worker's clock."""
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


def was_cancelled(states: list[State[Any]]) -> bool:
    """Return whether a flow run was cancelled, even if it then crashed."""
    return any(state.type == StateType.CANCELLING for state in states)


def worker_of(run: FlowRun) -> str:
    """Name the worker that took a flow run."""
    return str(run.labels.get("prefect.worker.name", "no worker"))
