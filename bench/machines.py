"""The cost of the study's loop: many stub trials on many machines.

`python -m bench.machines [TRIALS]` measures alone. A stub sleeps and publishes a ref. Server, git remote and refs are
real, and so is the Postgres that so many machines need (Debian: `apt install postgresql`); the machines are one
process, so that a thousand trials take minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.states import Completed, Pending, Running

from bench.measure import Found, amount, ratio
from flows.cluster import flow_runs, scheduler, sync
from flows.repo.git import git
from flows.runs.trial import Ended, Trial
from flows.study import flow as study_flow
from tests.support.clone import IDENTITY
from tests.support.postgres import MissingError, postgres
from tests.support.stub_machines import serving_trials, trials_of

TRIALS = 1000
FEW = 100  # after which memory is first looked at
SLOTS = 20  # trials at once
SLEEP_SECONDS = 2.0
POLL_SECONDS = 0.5


def loop_alone(count: int = TRIALS) -> list[Found]:
    """Bring so many stubs of trials into being."""
    try:
        return _measured(count)
    except MissingError as error:
        print(f"the study's loop: left out: {error}")
        return []


def _measured(count: int) -> list[Found]:
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres() as database,
        serving_trials(Path(folder), database) as url,
    ):
        root, machine = _clones(Path(folder))
        command = [sys.executable, "-m", "bench.machines"]
        variables = {**os.environ, "PREFECT_API_URL": url}  # which threads know, too
        taking = subprocess.Popen([*command, "--machine", str(machine)], env=variables)
        try:
            full_command = [*command, str(count), "--study", str(root)]
            done = subprocess.run(full_command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            taking.terminate()
            taking.wait()
        assert len(git(root, "ls-remote", "origin", "refs/exps/*").splitlines()) == count
    found = json.loads(done.stdout.splitlines()[-1])
    waited = found["wall"] - count * SLEEP_SECONDS / SLOTS
    return [
        amount(
            f"the study's loop for {count:,} trials on machines that sleep: its CPU time a trial",
            200,
            ("CPU of the study's process", [1000 * found["cpu"] / count]),
            "ms",
        ),
        amount(
            f"the study's loop for {count:,} trials on machines that sleep: what it adds to a trial's wall time",
            200,
            (f"wall time less sleeps on {SLOTS} machines", [1000 * waited / count]),
            "ms",
        ),
        ratio(
            f"memory of the study's process: after {count:,} trials / after {FEW}",
            1.1,
            (f"after {count:,}", [found["memory"][1]]),
            (f"after {FEW}", [found["memory"][0]]),
            "lower",
            "MiB",
        ),
    ]


def _clones(folder: Path) -> tuple[Path, Path]:
    """Make a git remote and two clones with DVC."""
    bare, root, machine = (folder / name for name in ("bare", "head", "machine"))
    git(folder, "init", "--quiet", "--bare", str(bare))
    git(folder, "clone", "--quiet", str(bare), str(root))
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["init", "--quiet"], ["remote", "add", "--quiet", "--default", "store", str(folder / "store")]):
        subprocess.run([*dvc, *command], cwd=root, check=True)
    (root / "requirements.lock").touch()
    git(root, "add", "--all")
    git(root, *IDENTITY, "commit", "--quiet", "--message", "start")
    git(root, "push", "--quiet", "origin", "HEAD")
    git(folder, "clone", "--quiet", str(bare), str(machine))
    return root, machine


# --- The study's process -------------------------------------------------------------------------


@flow(name="study", persist_result=False)
def run_study(root: Path, count: int) -> Found:
    """Run the study's own loop, without its plan and its report."""
    sync.push_inputs = lambda root, commit: None  # there are no images here
    trials = trials_of(git(root, "rev-parse", "HEAD").strip(), count)
    memory: list[float] = []

    def looked_at(root: Path, missing: list[Trial]) -> Generator[Ended | None]:
        ended = 0
        with closing(scheduler.run_on_workers(root, missing, lambda line: None)) as runs:
            for one in runs:
                ended += one is not None
                if one and ended in {FEW, count}:
                    memory.append(psutil.Process().memory_info().rss / 2**20)
                yield one

    where = study_flow.Executor(sync.fetch_experiments, looked_at)
    started, cpu = time.perf_counter(), time.process_time()
    missing = [trial for trial in trials if trial.name not in where.existing(root)]
    failures = study_flow.run_trials(root, missing, where)
    assert not failures, failures
    assert where.existing(root).keys() >= {trial.name for trial in trials}
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - started,
        "memory": [memory[0], memory[-1]],
    }


# --- The machines' process -----------------------------------------------------------------------


def take_trials(root: Path) -> None:
    """Run scheduled trials until this process is ended."""
    free = threading.Semaphore(SLOTS)
    taken = set()
    with get_client(sync_client=True) as client:
        while True:
            time.sleep(POLL_SECONDS)
            with suppress(httpx.HTTPError):
                for found in client.get_scheduled_flow_runs_for_work_pool(flow_runs.POOL):
                    if found.flow_run.id not in taken and free.acquire(blocking=False):
                        taken.add(found.flow_run.id)
                        threading.Thread(target=_take, args=(root, found, free), daemon=True).start()


def _take(root: Path, found: WorkerFlowRunResponse, free: threading.Semaphore) -> None:
    run = found.flow_run
    commit = run.parameters["commit"]
    reference = f"refs/exps/{commit[:2]}/{commit[2:]}/{run.name}"
    try:
        with get_client(sync_client=True) as client:
            states: tuple[State[Any], ...] = (Pending(), Running())
            for state in states:
                client.set_flow_run_state(run.id, state)
            time.sleep(SLEEP_SECONDS)
            git(root, "push", "--quiet", f"--force-with-lease={reference}:", "origin", f"{commit}:{reference}")
            client.set_flow_run_state(run.id, Completed())
    finally:
        free.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.machines", description=(__doc__ or "").split("\n")[0])
    counted = f"more than {FEW}; default: {TRIALS}"
    parser.add_argument("trials", nargs="?", type=int, default=TRIALS, metavar="TRIALS", help=counted)
    for role, what in {"study": "run the study", "machine": "be the machines"}.items():
        parser.add_argument(f"--{role}", type=Path, metavar="CLONE", help=f"{what}, in a process of its own")
    args = parser.parse_args()
    if args.trials <= FEW:
        parser.error(f"TRIALS must be more than {FEW}, after which memory is first looked at; received {args.trials}")
    if args.machine:
        take_trials(args.machine)
    elif args.study:
        print(json.dumps(run_study(args.study, args.trials)))
    else:
        for one in loop_alone(args.trials):
            print(json.dumps(one))
