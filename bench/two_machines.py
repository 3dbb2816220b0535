"""Two machines: real workers in their own clones, a core each.

`make run` comes first: the head's clone takes the images from the DVC cache of this folder.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from bench.measure import Found, amount, ratio
from tests.support.clone import Clone
from tests.support.machines import bucket
from tests.support.serving import Prefect, deployed, heed_interrupts, wait_for
from tests.support.worker_machines import Machine, open_to_machines, use_bucket

ROUNDS = 2
TRIALS = 8
SETTINGS = {"train.precision": "float32", "train.threads": 1}
IMAGES = count(2_000)  # of each study another number, so that no stage of it was run before
LONG = 10_000  # epochs: never to be finished
HANDED_OVER = re.compile(r"exchanged with the remotes in ([\d.]+) s")


def two_machines() -> list[Found]:
    """Time eight trials on one machine and two, syncs, and a failover."""
    times: dict[int, list[float]] = {1: [], 2: []}
    with _machines("") as (head, prefect, machines):
        with _working(machines, prefect):
            _study(head, 4)  # after it both have the files of the data set
        for n in [*times] * ROUNDS:
            with _working(machines[:n], prefect):
                times[n].append(_study(head, TRIALS))
        folder = _sync_seconds(machines)
        noticed = [_failover_seconds(head, prefect, machines) for _ in range(ROUNDS)]
    return [
        ratio(
            f"{TRIALS} short trials on machines of one core: one machine / two machines",
            1.8,
            ("one", times[1]),
            ("two", times[2]),
        ),
        amount("handing over a trial through a folder, beside its run", 4, ("folder", folder)),
        amount("from the end of a machine to the training of its trial on another", 100, ("killed", noticed)),
    ]


def s3_bucket() -> list[Found]:
    """Time syncs through S3; the first of each machine fetches the data."""
    with _machines("s3://bucket/data") as (head, prefect, machines):
        with _working(machines, prefect):
            _study(head, TRIALS)
        return [
            amount("handing over a trial through S3 on loopback, beside its run", 6, ("S3", _sync_seconds(machines)))
        ]


@contextmanager
def _machines(url: str) -> Iterator[tuple[Clone, Prefect, list[Machine]]]:
    """Start a head with a server, and two machines."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        head = Clone(folder / "head")
        subprocess.run(["git", "clone", "--quiet", ".", str(head.path)], check=True)
        head.run("git", "remote", "remove", "origin")
        cache = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=True
        )
        head.run("dvc", "config", "--local", "cache.dir", cache.stdout.strip())
        prefect = stack.enter_context(deployed(head))
        port = stack.enter_context(bucket()) if url else 0
        (folder / "store").mkdir()
        open_to_machines(head, folder / "origin.git", url or str(folder / "store"))
        made = [Machine(folder / f"m{number}" / "clone", folder / "origin.git") for number in (1, 2)]
        for clone in (head, *made) if url else ():
            use_bucket(clone, port)
        yield head, prefect, made


@contextmanager
def _working(machines: list[Machine], prefect: Prefect) -> Iterator[None]:
    """Let machines take trials, each on a core of its own."""
    with ExitStack() as stack:
        for core, machine in enumerate(machines):
            whole = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {sorted(whole)[core]})  # which the worker inherits
            try:
                stack.enter_context(machine.worker(str(prefect.api.base_url).rstrip("/")))
            finally:
                os.sched_setaffinity(0, whole)
        wait_for("the workers", partial(_alive, prefect, len(machines)))
        yield


def _alive(prefect: Prefect, n: int) -> bool:
    answer = prefect.api.post("/work_pools/study/workers/filter", json={}).raise_for_status()
    workers: list[dict[str, str]] = answer.json()
    return sum(worker["status"] == "ONLINE" for worker in workers) >= n


def _command(seeds: int, epochs: int = 4) -> list[str]:
    settings = {**SETTINGS, "normalize.train_images": next(IMAGES), "train.epochs": epochs}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    variants = ["--variants", "none", "--seeds", str(seeds)]
    return [sys.executable, "-m", "flows.study", "--on", "machines", *variants, *sets]


def _study(head: Clone, seeds: int) -> float:
    started = time.perf_counter()
    head.run(*_command(seeds))
    seconds = time.perf_counter() - started
    print(f"{seeds} trials: {seconds:.1f} s", flush=True)
    return seconds


def _sync_seconds(machines: list[Machine]) -> list[float]:
    """Read the seconds of each sync from the machines' logs."""
    logs = [log for machine in machines for log in machine.path.parent.glob("*.log")]
    return [float(seconds) for log in logs for seconds in HANDED_OVER.findall(log.read_text())]


def _failover_seconds(head: Clone, prefect: Prefect, machines: list[Machine]) -> float:
    """Time the failover of a trial from a killed machine to another."""
    with _working(machines, prefect):
        study = subprocess.Popen(
            _command(1, LONG),
            cwd=head.path,
            env=head.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=heed_interrupts,
        )
        try:
            wait_for("a training", lambda: any(machine.trains() for machine in machines))
            struck, other = sorted(machines, key=lambda machine: not machine.trains())
            struck.send(signal.SIGKILL)
            started = time.perf_counter()
            wait_for("the training elsewhere", other.trains, 300)
            seconds = time.perf_counter() - started
        finally:
            study.send_signal(signal.SIGINT)
            study.wait(60)
    print(f"trains elsewhere after {seconds:.1f} s", flush=True)
    return seconds
