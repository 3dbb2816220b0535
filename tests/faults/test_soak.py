"""Random commands, kills and damage in one workspace; afterwards the weights are the same.

SOAK_SECONDS sets the time (`make soak`: half an hour), SOAK_SEED the sequence.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.clone import Clone
from tests.support.serving import Prefect, serving, wait_for, workers_of

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900 + 2 * SECONDS)]
DOCTOR = (sys.executable, "-m", "flows.doctor")
MODEL = Path("models/classifier.keras")
ENDED = {"Completed", "Failed", "Crashed", "Cancelled"}


@pytest.fixture(scope="module")
def prefect(clone: Clone) -> Iterator[Prefect]:
    with serving(clone) as made:
        yield made


class Soak:
    """A workspace, what can happen to it, and a random choice of that."""

    def __init__(self, prefect: Prefect):
        self.prefect, self.clone, self.random = prefect, prefect.clone, random.Random(SEED)

    def attempt(self, *command: str) -> int:
        """Run a command, which may fail because of damage, but never with a trace."""
        done = subprocess.run(
            command, cwd=self.clone.path, env=self.clone.environment, capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def repro(self) -> None:
        if self.attempt("dvc", "repro"):
            self.attempt(*DOCTOR)

    def killed_repro(self) -> None:
        """Start a new training, and kill all of it, DVC alone or the step alone."""
        self.clone.edit(train__epochs=2, train__seed=self.random.randrange(2**31))
        running = subprocess.Popen(
            ["dvc", "repro"],
            cwd=self.clone.path,
            env=self.clone.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(self.random.uniform(0.3, 8))
        blow = self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        children = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
        dvc, steps = [running.pid], [child.pid for child in children]
        for pid in self.random.choice([dvc, steps, dvc + steps]):
            try:
                os.kill(pid, blow)
            except ProcessLookupError:
                continue  # it ended with its parent
        running.wait(60)
        wait_for("the end of every child", lambda: not workers_of(self.clone), 20)

    def flow(self) -> None:
        self._await(self.prefect.start())

    def flow_apart(self) -> None:
        self._await(self.prefect.start("pipeline/local", "--param", 'overrides={"evaluate.batch_size": 500}'))

    def cancelled_flow(self) -> None:
        self.clone.edit(train__seed=self.random.randrange(2**31))
        flow_run = self.prefect.start()
        time.sleep(self.random.uniform(1, 6))
        self.clone.run("prefect", "flow-run", "cancel", flow_run)
        try:
            wait_for("the end of the run", lambda: self.prefect.state(flow_run) in ENDED, 60)
        except AssertionError:  # Prefect forgets one that is cancelled in the moment in which it starts
            assert self.prefect.state(flow_run) == "Cancelling"
            self.prefect.give_up(flow_run)
        self._await(flow_run)

    def killed_flow(self) -> None:
        """Kill the step of a flow run."""
        self.clone.edit(train__seed=self.random.randrange(2**31))
        flow_run = self.prefect.start()
        time.sleep(self.random.uniform(3, 9))
        for process in psutil.process_iter(["cmdline", "cwd"]):
            command = " ".join(process.info["cmdline"] or [])
            if "-m tasks." in command and (process.info["cwd"] or "").startswith(str(self.clone.path)):
                process.kill()
        self._await(flow_run)

    def _await(self, flow_run: str) -> None:
        wait_for("the end of the run", lambda: self.prefect.state(flow_run) in ENDED, 240)
        wait_for("the end of every child", lambda: not workers_of(self.clone), 20)

    def damaged_file(self) -> None:
        """Delete, flip or truncate an output, an object of DVC's cache, or a file that DVC keeps its state in."""
        folders = ("data/raw", "data/normalized", "models", "reports/evaluation")
        outputs = [path for folder in folders for path in (self.clone.path / folder).glob("[!.]*.*")]
        objects = self.random.sample(sorted((self.clone.path / ".dvc/cache/files/md5").glob("*/*")), 3)
        path = self.clone.path / self.random.choice([Path("dvc.lock"), Path(".dvc/tmp/rwlock"), *outputs, *objects])
        if not path.is_file():
            return
        content = bytearray(path.read_bytes())
        harm = self.random.choice(["delete", "flip", "truncate"])
        path.chmod(0o644)
        if harm == "delete":
            path.unlink()
        elif harm == "flip" and content:
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            path.write_bytes(content)
        else:
            path.write_bytes(content[: len(content) // 2])
        if ".dvc" in path.parts or path.name == "dvc.lock":  # DVC refuses these, or would trust them
            self.attempt(*DOCTOR)

    def checkout(self) -> None:
        self.clone.run("git", "checkout", "--quiet", "--force", "HEAD", "--", ".")
        if self.attempt("dvc", "checkout", "--force"):
            self.attempt(*DOCTOR)

    def doctor(self) -> None:
        assert self.attempt(*DOCTOR) in {0, 1}


ROUND = {  # how often each occurs in a round of thirty
    Soak.repro: 3,
    Soak.killed_repro: 3,
    Soak.flow: 1,
    Soak.flow_apart: 1,
    Soak.cancelled_flow: 1,
    Soak.killed_flow: 1,
    Soak.damaged_file: 13,
    Soak.checkout: 4,
    Soak.doctor: 3,
}


def test_after_random_commands_kills_and_damage_the_weights_are_those_of_an_undisturbed_run(prefect: Prefect) -> None:
    clone, soak = prefect.clone, Soak(prefect)
    undisturbed = (clone.path / MODEL).read_bytes()
    started = time.monotonic()
    print(f"SOAK_SEED={SEED}")
    while time.monotonic() - started < SECONDS:
        for command in soak.random.sample(list(ROUND), k=sum(ROUND.values()), counts=list(ROUND.values())):
            print(f"{time.monotonic() - started:6.1f} s  {command.__name__}", flush=True)
            command(soak)
    wait_for("the end of every child", lambda: not workers_of(clone), 20)
    soak.doctor()
    clone.run("git", "checkout", "--quiet", "--force", "HEAD", "--", ".")
    clone.run("dvc", "repro")
    assert (clone.path / MODEL).read_bytes() == undisturbed
    assert clone.run(*DOCTOR) == "nothing found: every digest is right\n"
    assert clone.run("git", "status", "--porcelain") == ""
