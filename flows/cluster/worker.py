"""`python -m flows.cluster.worker [--limit N] [--server URL] [--name NAME]`: this clone as a machine for runs.

With `--server` it takes trials alone, for the study of another machine. Without, it serves this clone's own server, and
runs its deployments, too. It is Prefect's own process worker, which beside that names a share of the machine for each
trial, waits for a server that is away for as long as it takes, and takes nothing more where everything crashes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import refresh_global_settings_context
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings
from prefect.variables import Variable
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.cluster import queues
from flows.cluster.status import LEFT_OUT, POOL
from flows.host import resources
from flows.server import connection, password
from flows.server.process import ServerError
from tasks.params import ParameterError

PIPELINE_QUEUE = "default"  # of runs that were started without naming one
CRASHES = 3  # in a row, each within so many seconds of its start
CRASH_SECONDS = 30.0
CLOSE_SECONDS = 5.0  # for the last words to the server

Found = TypeVar("Found")


class PatientWorker(ProcessWorker):
    """Prefect's worker, which would give up on a server that is away for some minutes."""

    is_away = False

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Register the class beside Prefect's own of the same type, and not in its place."""
        return cls.__name__

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for runs, and start them."""
        return await self._patiently(super().get_and_submit_flow_runs) or []

    async def sync_with_backend(self) -> None:
        """Tell the server that this worker is there."""
        await self._patiently(super().sync_with_backend)

    async def teardown(self, *exc_info: Any) -> None:
        """End, also where Prefect's look for cancelled runs gave up on a server that was away."""
        with suppress(RuntimeError):
            await super().teardown(*exc_info)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except httpx.HTTPError:  # the server went away in between, and will offer the run again
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)

    async def _patiently(self, ask: Callable[[], Awaitable[Found]]) -> Found | None:
        """Ask the server; None while it is away or refuses, which must not cost the runs that go on here."""
        try:
            found = await ask()
        except httpx.HTTPError as error:
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
            self._say_once(f"the server does not answer as it should: {why}; asking again until it does", is_away=True)
            return None
        self._say_once("the server answers again", is_away=False)
        return found

    def _say_once(self, text: str, is_away: bool) -> None:
        if is_away != self.is_away:
            self.is_away = is_away
            print(text, flush=True)


class TrialWorker(PatientWorker):
    """A worker of pool `study`: the trials that this machine can take, each with a share of it."""

    left_out = False

    def __init__(self, name: str, limit: int, offered: list[str]):
        super().__init__(POOL, work_queues=[PIPELINE_QUEUE, *offered], name=name, limit=limit)
        self._jobs, self._free = limit, set(range(limit))
        self._crashes = 0

    async def sync_with_backend(self) -> None:
        """Tell the server that this worker is there, and see that its queues are."""
        await super().sync_with_backend()
        await self._patiently(self._make_queues)

    async def _make_queues(self) -> None:
        """Make the queues that are missing: a server says of one that does not exist that all are empty."""
        if self._work_pool is None:
            return
        exist = {queue.name for queue in await self.client.read_work_queues(work_pool_name=self._work_pool_name)}
        for name in sorted(self._work_queues - exist):
            with suppress(ObjectAlreadyExists):  # another machine was faster
                await self.client.create_work_queue(name, work_pool_name=self._work_pool_name)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for trials, unless everything crashes here."""
        return [] if self.left_out else await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a trial in its own process, with a share that no other running one has."""
        number, started = min(self._free), time.monotonic()
        self._free.remove(number)
        try:
            configuration.env |= {"SHARE": f"{number}/{self._jobs}"}
            return await super().run(flow_run, configuration, task_status)
        except anyio.get_cancelled_exc_class():  # or the run would look alive until its silence is noticed
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
                await self._propose_crashed_state(flow_run, f"worker {self.name} was ended")
            raise
        finally:
            self._free.add(number)
            if self.is_setup:
                with suppress(httpx.HTTPError):  # nobody knows what became of it
                    await self._count(flow_run, time.monotonic() - started)

    async def _count(self, flow_run: FlowRun, seconds: float) -> None:
        """Count crashes in a row, and leave this machine out once there are too many."""
        states = await self.client.read_flow_run_states(flow_run.id)
        last = max(states, key=lambda state: state.timestamp)
        # A cancelled run passes through Crashed, too.
        crashed = last.is_crashed() and not any(state.type == StateType.CANCELLING for state in states)
        self._crashes = self._crashes + 1 if crashed and seconds < CRASH_SECONDS else 0
        if self._crashes >= CRASHES and not self.left_out:
            self.left_out = True
            why = f"{CRASHES} runs in a row crashed within {CRASH_SECONDS:g} s, the last: {last.message}"
            print(f"error: {self.name} takes nothing more: {why}; start it again once that is mended", flush=True)
            await name_left_out(self.name, why)


async def name_left_out(machine: str, why: str) -> None:
    """Tell the studies that a machine takes nothing, and why; an empty reason: that it does."""
    while True:
        known: Any = await Variable.aget(LEFT_OUT, default={})
        others = {other: reason for other, reason in known.items() if other != machine}
        named = {**others, machine: why} if why else others
        if named == known:
            return
        await Variable.aset(LEFT_OUT, named, overwrite=True)
        await anyio.sleep(1)  # of machines that write at once the last one stands: then it is looked at again


def machine_name(root: Path) -> str:
    """Name this machine by its host and, as one host may have several clones, by four digits of its path."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(root).encode()).hexdigest()[:4]}"


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; the status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.cluster.worker", description="Run what is asked for, in this clone."
    )
    parser.add_argument("--limit", type=int, metavar="N", help="trials side by side; default: a study's jobs")
    parser.add_argument("--server", metavar="URL", help="another machine's server, for which it takes trials alone")
    parser.add_argument("--name", help="of this machine; default: its host's and four digits of this folder's")
    asked = parser.parse_args(arguments)
    root = Path.cwd()
    _end_on_signals()
    try:
        _refuse(asked.limit)
        _name_server(asked.server)
        name, limit = asked.name or machine_name(root), asked.limit or resources.default_jobs()
        offered = queues.offered(root)
        workers: list[PatientWorker] = [TrialWorker(name, limit, offered)]
        if not asked.server:
            workers.append(PatientWorker("local", name=name))
        print(f"{name} takes up to {limit} at a time of the trials in {', '.join(offered)}", flush=True)
        asyncio.run(_serve(name, workers))
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    except (httpx.TransportError, RuntimeError) as error:
        print(f"error: {connection.explain_unreachable(error) or error}", file=sys.stderr)
        return 1
    return 0


def _end_on_signals() -> None:
    """End on SIGTERM as on Ctrl-C, also where a background shell has that ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # `nohup` ignores it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGINT))


def _refuse(limit: int | None) -> None:
    """Refuse what this machine cannot do."""
    if limit is not None and limit < 1:
        raise ParameterError(f"LIMIT must be at least 1; received {limit}")
    if resources.memory() < resources.JOB_BYTES:
        needed, found = (f"{size / 2**30:.1f} GiB" for size in (resources.JOB_BYTES, resources.memory()))
        raise ParameterError(f"a trial needs {needed} of memory; received {found}; run a worker on a larger machine")


def _name_server(url: str | None) -> None:
    """Let Prefect's settings name the server, with its password, and look that it answers."""
    if url:
        os.environ["PREFECT_API_URL"] = url.rstrip("/")
    if os.environ.get("PREFECT_API_URL") and (secret := password.load_password()):
        os.environ.setdefault(password.VARIABLE, secret)
    refresh_global_settings_context()
    if not get_current_settings().api.url:
        raise ServerError(
            "a worker needs a Prefect server; received none; start one with `make server`, or name another machine's: "
            "make worker SERVER=http://HOST:4200/api"
        )
    connection.check_named_server()


async def _serve(name: str, workers: list[PatientWorker]) -> None:
    await name_left_out(name, "")
    serving, told = asyncio.current_task(), []

    def end() -> None:
        told.append(signal.SIGINT)
        if serving:
            serving.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, end)
    try:
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(partial(worker.start, printer=lambda *_: None))
    except (asyncio.CancelledError, BaseExceptionGroup):  # the other where Prefect's worker has only begun
        if not told:
            raise


if __name__ == "__main__":
    sys.exit(main())
