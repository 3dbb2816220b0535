"""Prefect's process worker, with patience and with resources for trials."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Crashed
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.cluster.flow_runs import POOL, was_cancelled
from flows.cluster.queues import set_cordon
from flows.host import resources

PRIVATE = {  # private interfaces of Prefect, which any release may change: name → why it is needed
    "__dispatch_key__": "a subclass needs a key of its own beside Prefect's worker of the same type",
    "_submit_run": "an error of the server in it would end the whole worker",
    "_submitting_flow_run_ids": "it holds back a flow run whose submission failed",
    "_release_limit_slot": "it frees the place of a flow run whose submission failed",
}
PIPELINE_QUEUE = "default"  # of runs that were started without naming one
MAX_CRASHES = 3  # in a row, each within so many seconds of its start
CRASH_SECONDS = 30.0
CLOSE_SECONDS = 5.0  # for the last message to the server

Answer = TypeVar("Answer")


class PatientWorker(ProcessWorker):
    """A worker that waits for an absent server; Prefect's gives up."""

    is_away = False

    @classmethod
    def __dispatch_key__(cls) -> str:
        return cls.__name__

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except httpx.HTTPError:  # the server will offer the run again
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        return await self._patiently(super().get_and_submit_flow_runs) or []

    async def sync_with_backend(self) -> None:
        await self._patiently(super().sync_with_backend)

    async def teardown(self, *exc_info: Any) -> None:
        with suppress(RuntimeError):  # from Prefect, which gave up on an absent server
            await super().teardown(*exc_info)

    async def _patiently(self, request: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Send a request; return None while the server fails."""
        try:
            answer = await request()
        except httpx.HTTPError as error:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            if not self.is_away:
                print(f"the server does not answer as it should: {reason}; asking again until it does", flush=True)
            self.is_away = True
            return None
        if self.is_away:
            print("the server answers again", flush=True)
        self.is_away = False
        return answer


class TrialWorker(PatientWorker):
    """A worker of pool `study`: each trial has its own resources."""

    is_cordoned = False

    def __init__(self, name: str, limit: int, queues: list[str]):
        self._queues, self._jobs, self._free = [PIPELINE_QUEUE, *queues], limit, set(range(limit))
        super().__init__(POOL, work_queues=self._queues, name=name, limit=limit)
        self._crashes = 0

    async def sync_with_backend(self) -> None:
        await super().sync_with_backend()
        await self._patiently(self._create_queues)

    async def _create_queues(self) -> None:
        """Create missing queues, which would hide the trials in all others."""
        with suppress(ObjectNotFound):  # the pool itself, which the next heartbeat creates
            for name in self._queues:
                with suppress(ObjectAlreadyExists):
                    await self.client.create_work_queue(name, work_pool_name=POOL)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        return [] if self.is_cordoned else await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a trial in its own process, with its own resources."""
        number, started = min(self._free), time.monotonic()
        self._free.remove(number)
        try:
            configuration.env |= {resources.VARIABLE: f"{number}/{self._jobs}"}
            return await super().run(flow_run, configuration, task_status)
        except anyio.get_cancelled_exc_class():  # or the run would look alive until its heartbeat timeout
            state: State[Any] = Crashed(message=f"worker {self.name} was ended")
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(httpx.HTTPError, ObjectNotFound):
                await self.client.set_flow_run_state(flow_run.id, state)
            raise
        finally:
            self._free.add(number)
            if self.is_setup:
                with suppress(httpx.HTTPError):  # the outcome is unknown
                    await self._count_crash(flow_run, time.monotonic() - started)

    async def _count_crash(self, flow_run: FlowRun, seconds: float) -> None:
        """Count quick crashes in a row; cordon the worker after three."""
        states = await self.client.read_flow_run_states(flow_run.id)
        last = max(states, key=lambda state: state.timestamp)
        crashed = last.is_crashed() and not was_cancelled(states)
        self._crashes = self._crashes + 1 if crashed and seconds < CRASH_SECONDS else 0
        if self._crashes >= MAX_CRASHES and not self.is_cordoned:
            self.is_cordoned = True
            reason = f"{MAX_CRASHES} runs in a row crashed within {CRASH_SECONDS:g} s, the last: {last.message}"
            print(f"error: {self.name} takes no more trials: {reason}; fix that and start it again", flush=True)
            await set_cordon(self.name, reason)
