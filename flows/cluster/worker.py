"""`python -m flows.cluster.worker [--limit N] [--server URL] [--name NAME]`: run trials here.

With `--server` for another host's study; without, for this clone's own server and all of its deployments.
"""

import argparse
import asyncio
import hashlib
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import anyio
import httpx
from prefect.context import refresh_global_settings_context
from prefect.settings import get_current_settings

from flows.cluster.queues import served_queues, set_cordon
from flows.cluster.trial_worker import PatientWorker, TrialWorker
from flows.command_line import end_with
from flows.host import resources
from flows.host.signals import end_on_signals
from flows.server import connection, password
from flows.server.process import ServerError
from tasks.params import ParameterError

NEXT_HERE = "in another terminal of this clone: prefect deployment run pipeline/local --watch"
NEXT_AWAY = "in the clone that has the server: python -m flows.study --on machines"


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.cluster.worker", description="Run flow runs in this clone.")
    parser.add_argument("--limit", type=int, metavar="N", help="trials side by side; default: a study's jobs")
    parser.add_argument("--server", metavar="URL", help="another host's server, for which it takes only trials")
    parser.add_argument("--name", help="of this worker; default: the host's and four digits of this folder's")
    args = parser.parse_args(arguments)
    root = Path.cwd()
    end_on_signals()
    try:
        _check_host(args.limit)
        _connect(args.server)
        name, limit = args.name or worker_name(root), args.limit or resources.default_jobs()
        queues = served_queues(root)
        workers: list[PatientWorker] = [TrialWorker(name, limit, queues)]
        if not args.server:
            workers.append(PatientWorker("local", name=name))
        print(f"{name} takes up to {limit} trials at a time from {', '.join(queues)}; Ctrl-C ends it")
        print(f"next, {NEXT_AWAY if args.server else NEXT_HERE}", flush=True)
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


def worker_name(root: Path) -> str:
    """Name a worker by its host and digits of its clone's path."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(root).encode()).hexdigest()[:4]}"


def _check_host(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ParameterError(f"LIMIT must be at least 1; received {limit}")
    if resources.memory() < resources.JOB_BYTES:
        needed, received = (f"{size / 2**30:.1f} GiB" for size in (resources.JOB_BYTES, resources.memory()))
        raise ParameterError(f"a trial needs {needed} of memory; received {received}; run a worker on a larger host")


def _server_variables(url: str | None) -> dict[str, str]:
    if not (address := url or os.environ.get("PREFECT_API_URL")):
        return {}
    secret = os.environ.get(password.VARIABLE) or password.load_password()
    return {"PREFECT_API_URL": address.rstrip("/")} | ({password.VARIABLE: secret} if secret else {})


def _connect(url: str | None) -> None:
    os.environ.update(_server_variables(url))
    refresh_global_settings_context()
    if not get_current_settings().api.url:
        raise ServerError(
            "a worker needs a Prefect server; received none; start one with `make server`, or name another host's: "
            "make worker SERVER=http://HOST:4200/api"
        )
    connection.check_named_server()


async def _serve(name: str, workers: list[PatientWorker]) -> None:
    await set_cordon(name, "")
    serving, interrupted = asyncio.current_task(), asyncio.Event()

    def interrupt() -> None:
        interrupted.set()
        if serving:
            serving.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(partial(worker.start, printer=lambda *_: None))
    except (asyncio.CancelledError, BaseExceptionGroup):  # the other where Prefect's worker has only begun
        if not interrupted.is_set():
            raise


if __name__ == "__main__":
    end_with(main)
