"""One DVC stage as one Prefect task: DVC's verdict, the run, its lines as logs, and its end.

DVC is the only judge of staleness. Prefect's own caching is off, and the state `Cached` repeats
what DVC said. A stage runs in `dvc repro --single-item`, a child process that is ended with
everything below it when the task is cancelled, fails or takes longer than its limit.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
from prefect import State, Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed
from ruamel.yaml import YAML

END_SECONDS = 5.0  # for a step to end after SIGTERM, before SIGKILL
LEASE_SECONDS = 60.0  # after so long without a sign of life, a run's hold on a limit expires
POLL_SECONDS = 2.0  # between looks at a workspace that another DVC is using

_one_repo_at_a_time = threading.Lock()  # DVC keeps process-wide state
_running: set[subprocess.Popen[str]] = set()
ending = threading.Event()  # everything that runs here is being ended: nothing further begins


class StageFailedError(RuntimeError):
    """A stage ended with an error; `temporary` says whether it may pass on a retry."""

    def __init__(self, message: str, temporary: bool = False):
        super().__init__(message)
        self.temporary = temporary


@dataclass(frozen=True)
class Place:
    """Where a run happens: a checkout of this repository."""

    root: Path
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: the data that flows hand from task to task."""

    stage: str
    how: Literal["unchanged", "restored", "ran"]
    reasons: tuple[str, ...]
    seconds: float
    outputs: Mapping[str, str] = field(default_factory=dict)  # path → digest, as in dvc.lock


def stage(name: str, limit_seconds: float, tags: Iterable[str] = (), **options: Any) -> Task[..., State[Outcome]]:
    """A Prefect task that brings one DVC stage up to date.

    Parameters
    ----------
    name : str
        The stage in dvc.yaml, and the name of the task and of its runs.
    limit_seconds : float
        After so long, the stage and everything it started are ended.
    tags : iterable of str
        What the stage needs alone, such as "gpu": it waits for the server's limits of these names.
    **options
        Further options of Prefect's `task`, such as `retries`.
    """

    @task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=_may_pass,
        tags=tags,
        **options,
    )
    def bring_up_to_date(place: Place, *inputs: Outcome) -> State[Outcome]:
        logger = get_run_logger()
        started = time.perf_counter()
        reasons = _wait_for_verdict(place.root, name, logger.info)
        if place.force:
            reasons = ("forced",)
        if not reasons:
            outcome = Outcome(name, "unchanged", (), time.perf_counter() - started, outputs(place.root, name))
            return Completed(name="Cached", message="DVC: nothing changed, outputs are intact", data=outcome)
        logger.info("%s runs: %s", name, "; ".join(reasons))
        with _holding(tags):
            how = reproduce(place, name, limit_seconds, _Progress(name, logger.info))
        outcome = Outcome(name, how, reasons, time.perf_counter() - started, outputs(place.root, name))
        verb = {"ran": "ran", "restored": "restored from the run cache", "unchanged": "nothing to do"}[how]
        return Completed(message=f"{verb}: {'; '.join(reasons)}", data=outcome)

    return bring_up_to_date


@contextmanager
def _holding(names: Iterable[str]) -> Iterator[None]:
    """Hold the server's concurrency limits of these names; one that it does not have limits nothing.

    These are leases, which end with their holder. Prefect's limits on tags would outlive a run that
    was killed, and every later one would wait for it.
    """
    with concurrency([name for name in names if _is_limited(name)], lease_duration=LEASE_SECONDS):
        yield


def _is_limited(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Retry only what may pass by itself, such as a mirror that does not answer."""
    try:
        state.result()
    except StageFailedError as error:
        return error.temporary
    except Exception:
        return False
    return False


# --- The verdict ---------------------------------------------------------------------------------


def verdict(root: Path, name: str) -> tuple[str, ...]:
    """Why DVC would run a stage now; empty when nothing changed and its outputs are intact.

    Raises
    ------
    dvc.lock.LockError
        If another DVC process is using the workspace.
    """
    from dvc.dependency.param import ParamsDependency
    from dvc.repo import Repo, lock_repo

    with _one_repo_at_a_time, Repo(str(root)) as repo, lock_repo(repo):
        (found,) = repo.stage.collect(f"{root / 'dvc.yaml'}:{name}")
        entries = found.status().get(found.addressing, [])
        changed = [
            difference
            for dependency in found.deps
            if isinstance(dependency, ParamsDependency)
            for difference in _differences(dependency.hash_info.value or {}, dependency.read_params())
        ]
    return tuple(_reasons(entries, changed))


def _reasons(entries: list[Any], changed: list[str]) -> Iterator[str]:
    """DVC's status of a stage in words: a list of sentences and of {kind: {path: what happened}}."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for kind, paths in entry.items():
            for path, what in paths.items():
                if isinstance(what, dict):  # a parameter file, with the blocks that differ
                    yield f"params changed: {', '.join(changed) or ', '.join(what)}"
                else:
                    yield f"{kind.removeprefix('changed ').removesuffix('s')} {path} {what}"


def _wait_for_verdict(root: Path, name: str, log: Callable[..., None]) -> tuple[str, ...]:
    """The verdict, once no other DVC process is using the workspace."""
    from dvc.lock import LockError

    waiting = False
    while True:
        try:
            return verdict(root, name)
        except LockError as error:
            if not waiting:
                log("waiting for another DVC process in %s: %s", root, str(error).splitlines()[0])
            waiting = True
            time.sleep(POLL_SECONDS)


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Each changed parameter as `key before → now`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    elif before != now:
        yield f"{key} {before} → {now}"


# --- The run -------------------------------------------------------------------------------------


def reproduce(
    place: Place, name: str, limit_seconds: float, log: Callable[[str], None]
) -> Literal["unchanged", "restored", "ran"]:
    """Run `dvc repro --single-item` and say what it did.

    Raises
    ------
    StageFailedError
        If it fails or exceeds its limit; the message ends with the stage's last lines.
    """
    said = "\n".join(repro(place, name, limit_seconds, log, options=("--single-item", name)))
    if f"Stage '{name}' is cached - skipping run" in said:
        return "restored"
    return "ran" if f"Running stage '{name}'" in said else "unchanged"


def repro(
    place: Place,
    name: str,
    limit_seconds: float,
    log: Callable[[str], None],
    options: tuple[str, ...] = (),
    cores: frozenset[int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """Run `dvc repro` and give its lines.

    Parameters
    ----------
    name : str
        What is run, for messages.
    cores : set of int, optional
        The cores that it and everything it starts may use, where the system can limit them.
    variables : mapping, optional
        Further environment variables.

    Raises
    ------
    StageFailedError
        If it fails or exceeds its limit; the message ends with its last lines.
    """
    lines: list[str] = []
    force = ["--force"] if place.force else []
    command = [sys.executable, "-u", "-m", "dvc", "--wait-for-lock", "repro", *force, *options]
    process = subprocess.Popen(
        command,
        cwd=place.root,
        env={**environment(), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    overdue = threading.Event()

    def end_overdue() -> None:
        overdue.set()
        end(process)

    watchdog = threading.Timer(limit_seconds, end_overdue)
    watchdog.daemon = True
    try:
        _running.add(process)
        if ending.is_set():
            end(process)  # it was started while the others were ended
        watchdog.start()
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, cores)  # before it starts anything: it takes a while to load
        assert process.stdout is not None
        with signals_that_stay() as raise_again:
            for line in process.stdout:
                if line := line.strip():
                    lines.append(line)
                    log(line)
                    raise_again()
        status = process.wait()
    finally:
        watchdog.cancel()
        end(process)
        _running.discard(process)
    if overdue.is_set():
        raise StageFailedError(f"{name}: took longer than its limit of {limit_seconds:,.0f} s and was ended")
    if status:
        temporary = any(re.search(r"exited with 75$", line) for line in lines)
        raise StageFailedError(f"{name} failed: {_last_words(lines)}", temporary)
    return lines


@contextmanager
def signals_that_stay() -> Iterator[Callable[[], None]]:
    """A function that raises anew what a signal raised and someone swallowed.

    Ctrl-C or a cancellation that arrives while Prefect's client waits for the server gets lost there.
    """
    received: list[Callable[[], Any]] = []

    def remember(previous: Any) -> Callable[[int, Any], None]:
        def handler(number: int, frame: Any) -> None:
            received.append(lambda: previous(number, frame))
            previous(number, frame)

        return handler

    def raise_again() -> None:
        if received:
            received.pop()()

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(previous := signal.getsignal(number)):
                replaced[number] = signal.signal(number, remember(previous))
    try:
        yield raise_again
    finally:
        for number, previous in replaced.items():
            signal.signal(number, previous)


def _last_words(lines: list[str]) -> str:
    """The step's own error line and what follows it; DVC's last lines where there is none."""
    first = next((n for n, line in enumerate(lines) if line.startswith("error: ")), len(lines) - 3)
    return "\n".join(line for line in lines[max(first, 0) :])


def environment() -> dict[str, str]:
    """The environment of a child: this interpreter's programs first on PATH, and no buffering."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def end(process: subprocess.Popen[str]) -> None:
    """End a child and all that it started: first what is below it, whenever that begins; DVC then frees its locks."""
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + END_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for child in _below(process) - told:
            _signal(child.terminate)
            told.add(child)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    if process.poll() is None:
        for running in (*_below(process), process):
            _signal(running.kill)
        process.wait()


def _below(process: subprocess.Popen[str]) -> set[psutil.Process]:
    try:
        return set(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def end_running() -> None:
    """End every `dvc repro` that this process runs, in whichever thread, and let none begin."""
    ending.set()
    for process in tuple(_running):
        end(process)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return


def unreachable(error: Exception) -> str:
    """What to do about a Prefect server that does not answer; empty for another error."""
    if "Failed to reach API" not in str(error) and not isinstance(error, httpx.ConnectError):
        return ""
    url = os.environ.get("PREFECT_API_URL")
    where, instead = (url, "unset PREFECT_API_URL") if url else ("the address in prefect.toml", "remove that file")
    return f"a Prefect server must answer at {where}; start one with `make server`, or {instead}"


def outputs(root: Path, name: str) -> dict[str, str]:
    """The digests of a stage's outputs, as dvc.lock has them."""
    locked = YAML(typ="safe").load(root / "dvc.lock")["stages"][name]
    return {out["path"]: out["md5"] for out in locked.get("outs", [])}


class _Progress:
    """Passes lines to the log, and shows the epochs among them as a progress artifact."""

    def __init__(self, name: str, log: Callable[[str], None]):
        self.name, self.log = name, log
        self.artifact: Any = None

    def __call__(self, line: str) -> None:
        self.log(line)
        if not (match := re.match(r"epoch (\d+)/(\d+) ", line)):
            return
        percent = 100 * int(match[1]) / int(match[2])
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(percent, key=f"{self.name}-progress", description=line)
            else:
                update_progress_artifact(self.artifact, percent, description=line)
        except httpx.HTTPError as error:  # a server that is away must not cost the training
            self.log(f"the server did not take the progress: {error}")
