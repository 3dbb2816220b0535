"""A study over two machines, of which one dies and one freezes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from flows.runs.trial import finished
from flows.study import plan
from tests.support.clone import Clone
from tests.support.machines import bucket
from tests.support.serving import deployed, heed_interrupts, wait_for
from tests.support.worker_machines import SECRET, Machine, open_to_machines, use_bucket

pytestmark = [pytest.mark.slow, pytest.mark.timing, pytest.mark.timeout(1800)]

VARIANTS, SEEDS = ("none", "dropout", "l2"), 2
# Precision, threads and device are named, so that the study of one machine has the same trials.
SETTINGS = {
    "normalize.train_images": 500,
    "model.filters": [4, 4, 4],
    "train.epochs": 200,
    "train.precision": "float32",
    "train.threads": 1,
    "train.device": "cpu",
}
FROZEN_SECONDS = 120
NOT_OF_THE_RUNS = {"machines.md", "study.jsonl"}  # of a report: where and how fast they were made


@pytest.fixture(scope="module")
def head(clone: Clone) -> Clone:
    clone.reset()
    return clone


@pytest.fixture(scope="module")
def undisturbed(head: Clone) -> dict[str, bytes]:
    """Run the same study on one machine, and return its report."""
    head.run(*study("--jobs", "2"))
    found = report(head)
    shutil.rmtree(head.path / "reports/study")
    head.run("bash", "-c", "git for-each-ref --format='delete %(refname)' refs/exps | git update-ref --stdin")
    shutil.rmtree(head.path / ".dvc/cache/runs")
    return found


@pytest.fixture(scope="module")
def machines(head: Clone, undisturbed: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("machines")
    with bucket() as port, deployed(head) as prefect:
        open_to_machines(head, folder / "origin.git", "s3://bucket/data")
        made = [Machine(folder / name / "clone", folder / "origin.git") for name in ("m1", "m2", "desk")]
        for clone in (head, *made):
            use_bucket(clone, port)
        yield Place(str(prefect.api.base_url).rstrip("/"), folder / "origin.git", *made)


class Place(NamedTuple):
    """A server, two machines, and the clone of a second person."""

    server: str
    origin: Path
    first: Machine
    second: Machine
    desk: Machine

    def published(self) -> list[str]:
        command = ["git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps"]
        return subprocess.run(command, cwd=self.origin, check=True, capture_output=True, text=True).stdout.split()


def study(*arguments: str) -> list[str]:
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    variants = ",".join(VARIANTS)
    return [sys.executable, "-m", "flows.study", "--variants", variants, "--seeds", str(SEEDS), *settings, *arguments]


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def report(clone: Clone) -> dict[str, bytes]:
    folder = clone.path / "reports/study"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in NOT_OF_THE_RUNS}


def test_a_study_that_two_ask_for_survives_a_killed_and_a_frozen_machine(
    head: Clone, undisturbed: dict[str, bytes], machines: Place
) -> None:
    names = [trial.name for trial in plan.plan(head.path, list(VARIANTS), SEEDS, SETTINGS)]
    log = head.path.parent / "study.log"
    first, second = machines.first, machines.second
    with ExitStack() as stack, log.open("wb") as file:
        for machine in (first, second):
            stack.enter_context(machine.worker(machines.server))
        both = []
        for clone in (head, machines.desk):
            running = subprocess.Popen(
                study("--on", "machines"),
                cwd=clone.path,
                env={**clone.environment, "PREFECT_API_URL": machines.server},
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )
            stack.callback(end, running)
            both.append(running)
            # Only the head has the data; the desk can submit runs once the remote has it.
            wait_for("the head to push the data", lambda: " runs on " in log.read_text(), 120)
        wait_for("a training on each machine", lambda: first.trains() and second.trains())
        second.send(signal.SIGKILL)
        struck = time.monotonic()
        wait_for("its heartbeat timeout", lambda: "no sign of life" in log.read_text(), 120)
        assert time.monotonic() - struck < 100
        stack.enter_context(second.worker(machines.server))  # the machine is back
        wait_for("a training on each machine", lambda: first.trains() and second.trains())
        first.send(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        first.send(signal.SIGCONT)
        assert [running.wait(600) for running in both] == [0, 0], log.read_text()[-3000:]
        wait_for("the end of all that trains", lambda: not first.trains() and not second.trains(), 30)
    assert sorted(machines.published()) == sorted(names)
    assert report(head) == report(machines.desk) == undisturbed
    for machine in (first, second):
        assert not [process.cmdline() for process in machine.living()]
        assert not list((machine.path / ".dvc/tmp/worktrees").glob("[a-z]*"))
    made = (head.path / "reports/study/machines.md").read_text()
    assert "m1" in made
    assert "m2" in made
    assert SECRET not in log.read_text() + made


def test_a_trial_from_another_machine_brings_its_model(head: Clone, machines: Place) -> None:
    name = machines.published()[0]
    shutil.rmtree(head.path / "models")
    head.run("dvc", "exp", "pull", "origin", name)
    head.run("dvc", "exp", "apply", name)
    assert (head.path / "models/classifier.keras").stat().st_size > 1000
    (commit,) = re.findall(rf"(\w+) commit\s.*{name}$", head.run("git", "for-each-ref"), re.MULTILINE)
    metrics = json.loads((head.path / "reports/metrics.json").read_text())
    assert metrics == json.loads(head.run("git", "show", f"{commit}:reports/metrics.json"))
    assert json.loads(head.run("dvc", "status", "--json")).keys() == {"export", "report", "describe"}


def test_a_gate_over_seeds_runs_both_commits_on_the_machines_once(head: Clone, machines: Place) -> None:
    head.run("git", "checkout", "--quiet", "--force", "HEAD")  # an experiment was applied
    head.edit(normalize__train_images=500, model__filters=[4], train__epochs=1)
    head.commit("one epoch")
    head.edit(train__epochs=2)
    head.commit("two epochs")
    before = head.run("git", "status", "--porcelain")
    gate = ("env", f"PREFECT_API_URL={machines.server}", sys.executable, "-m", "flows.gate", "--base", "HEAD~1")
    over_seeds = (*gate, "--seeds", "3", "--on", "machines", "--tolerance", "100")
    with machines.first.worker(machines.server), machines.second.worker(machines.server):
        said = head.run(*over_seeds)
    assert "6 runs: 0 exist already, 6 to run" in said
    assert {f"{side} seed {seed} runs on" in said for side in ("base", "here") for seed in range(3)} == {True}
    runs = {name: commit for name, commit in finished(machines.origin).items() if name.startswith("gate-")}
    epochs = [head.run("git", "show", f"{run}:reports/history.csv").count("\n") - 1 for run in runs.values()]
    assert sorted(epochs) == [1, 1, 1, 2, 2, 2]
    again = head.run(*over_seeds, "--page", "reports/compare.html")  # without a worker
    assert "6 runs: 6 exist already, 0 to run" in again
    assert said[said.index("| metric") :] in again
    assert "data:image" in (head.path / "reports/compare.html").read_text()
    assert head.run("git", "status", "--porcelain") == before
