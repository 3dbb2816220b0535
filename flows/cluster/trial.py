"""A trial on any machine: `prefect deployment run trial/study`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import State, flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed

from flows.cluster import sync
from flows.host.capability import describe_host
from flows.host.resources import assigned_resources
from flows.repo.commands import redact
from flows.runs.experiments import Remote
from flows.runs.processes import StageFailedError, shutting_down, terminate_all
from flows.runs.trial import Trial, run_trial

LOOK_SECONDS = 5.0  # between looks at the own state

REMOTE = Remote(sync.fetch_commit, sync.fetch_inputs, sync.images_in_git, sync.is_published, sync.publish)


@flow(name="trial", persist_result=False)
def trial(variant: str, seed: int, overrides: dict[str, Any], name: str, commit: str) -> State[str]:
    """Run a trial on this machine, and publish its experiment.

    Its state is Cached where the experiment existed, Failed where the training failed, Crashed where this machine did.
    """
    logger = get_run_logger()
    logger.info("%s seed %d on %s", variant, seed, describe_host())
    shutting_down.clear()
    with _heed_own_state() as ended:
        try:
            wanted = Trial(variant, seed, overrides, name, commit)
            is_new = run_trial(Path.cwd(), wanted, logger.info, assigned_resources(), REMOTE)
        except Exception as error:
            if ended:
                return ended[0]
            if isinstance(error, StageFailedError) and not error.temporary:
                raise
            return Crashed(message=redact(str(error)))
    if not is_new:
        return Completed(name="Cached", message=f"experiment {name} exists", data=name)
    return Completed(message=f"published as experiment {name}", data=name)


@contextmanager
def _heed_own_state() -> Iterator[list[State[Any]]]:
    """End the training once this flow run's state is over.

    The yielded list then holds the state to end in.

    After a server was away, Prefect does not notify a run of its cancellation. And the scheduler may have given the
    trial of a frozen run to another machine.
    """
    ended: list[State[Any]] = []
    over = threading.Event()
    own = UUID(flow_run.get_id())

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(own).state
            except ObjectNotFound:  # it was deleted, and nobody waits for it
                state = Cancelled()
            except httpx.HTTPError:  # a server that is away must not cost the training
                continue
            if state is not None and (state.is_cancelling() or state.is_final()):
                message = f"ended, since its state became {state.name}"
                ended.append(Crashed(message=message) if state.is_crashed() else Cancelled(message=message))
                terminate_all()
                return

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield ended
    finally:
        over.set()
