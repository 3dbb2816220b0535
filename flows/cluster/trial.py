"""One trial of a study, brought into being in this clone: `prefect deployment run trial/study` on any machine.

The worktree's lock is the claim of a trial within a clone; between clones the reference on the git remote is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
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
from flows.host.name import describe_host
from flows.host.resources import Resources, assigned_resources
from flows.repo.commands import redact
from flows.runs import experiments
from flows.runs.placeholders import leave_out_others
from flows.runs.processes import Checkout, StageFailedError, repro, shutting_down, terminate_all
from flows.runs.trial import TRIAL_STAGES, Trial, finished

LIMIT_SECONDS = 24 * 3600.0
LOOK_SECONDS = 5.0  # between looks at the own state


def make_trial(root: Path, trial: Trial, log: Callable[[str], None], share: Resources, hand_over: bool = False) -> bool:
    """Bring one trial into being in this clone; False where it existed.

    It ends with its scores: `dvc exp apply NAME && dvc repro` reports on it, which takes seconds and no training.

    Parameters
    ----------
    hand_over : bool
        Get its inputs from the remotes and publish it there; it then exists once the git remote has it.

    Raises
    ------
    flows.runs.processes.StageFailedError
        If its training or another stage fails.
    RuntimeError, filelock.Timeout
        If the machine, its disk or a remote does, or everything here is being ended.
    """
    started = time.perf_counter()
    if _exists(root, trial.name, hand_over):
        return False
    if hand_over:
        sync.fetch_commit(root, trial.commit)
    worktree = experiments.isolated_worktree(root, trial.overrides, trial.name, trial.commit, wait_seconds=-1)
    with worktree as checkout:
        if _exists(root, trial.name, hand_over):  # made by whom this one waited for
            return False
        if hand_over:
            sync.fetch_inputs(checkout)
        run_here = not hand_over or sync.images_in_git(checkout)
        fetched = time.perf_counter()
        repro(
            Checkout(checkout),
            f"{trial.variant} seed {trial.seed}",
            LIMIT_SECONDS,
            log,
            options=("--single-item", *(TRIAL_STAGES if run_here else TRIAL_STAGES[1:])),  # the images may be elsewhere
            cores=share.cores,
            variables=share.variables,
        )
        ran = time.perf_counter()
        leave_out_others(checkout, TRIAL_STAGES)
        experiments.save(checkout, trial.name)
        saved = time.perf_counter()
        made = sync.publish(checkout, trial.name) if hand_over else True
        published = time.perf_counter()
    if hand_over:
        log(
            f"handed over in {fetched - started + published - ran:.1f} s: inputs {fetched - started:.1f}, "
            f"save {saved - ran:.1f}, push {published - saved:.1f}; the run itself took {ran - fetched:.1f} s"
        )
    return made


def _exists(root: Path, name: str, hand_over: bool) -> bool:
    return sync.is_published(root, name) if hand_over else name in finished(root)


@flow(name="trial", persist_result=False)
def trial(variant: str, seed: int, overrides: dict[str, Any], name: str, commit: str) -> State[str]:
    """Bring a trial into being on this machine, and hand it over.

    Its state is Cached where it existed, Failed where the training failed, and Crashed where this machine did.
    """
    logger = get_run_logger()
    logger.info("%s seed %d on %s", variant, seed, describe_host())
    asked = Trial(variant, seed, overrides, name, commit)
    shutting_down.clear()
    with _heed_own_state() as ended:
        try:
            made = make_trial(Path.cwd(), asked, logger.info, assigned_resources(), hand_over=True)
        except Exception as error:
            if ended:
                return ended[0]
            if isinstance(error, StageFailedError) and not error.temporary:
                raise
            return Crashed(message=redact(str(error)))
    if not made:
        return Completed(name="Cached", message=f"experiment {name} exists", data=name)
    return Completed(message=f"published as experiment {name}", data=name)


@contextmanager
def _heed_own_state() -> Iterator[list[State[Any]]]:
    """End the children of this run once its state says that it is over; the state to end in, if that happened.

    After a server was away for a while, Prefect no longer tells a run that it was cancelled. And a run that was frozen
    may have been given up meanwhile, and its trial to another machine.
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
                told = f"ended, since its state became {state.name}"
                ended.append(Crashed(message=told) if state.is_crashed() else Cancelled(message=told))
                terminate_all()
                return

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield ended
    finally:
        over.set()
