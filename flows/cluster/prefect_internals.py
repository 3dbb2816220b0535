"""Private interfaces of Prefect that workers need; any release may change them."""

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker

PRIVATE = {  # name → why it is needed
    "__dispatch_key__": "a subclass needs a key of its own beside Prefect's worker of the same type",
    "_submit_run": "an error of the server in it would end the whole worker",
    "_submitting_flow_run_ids": "it holds back a flow run whose submission failed",
    "_release_limit_slot": "it frees the place of a flow run whose submission failed",
}


class ResubmittingWorker(ProcessWorker):
    """A worker that submits again what an absent server interrupted."""

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Return a key beside that of Prefect's own worker."""
        return cls.__name__

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except httpx.HTTPError:  # the server will offer the run again
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
