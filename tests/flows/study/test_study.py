"""The study in a scratch clone: its plan, its resumption, its failures, and two of them at once."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from flows.host import resources
from flows.runs import trial
from flows.study import __main__ as study_page
from flows.study import plan
from tasks.params import ParameterError
from tests.support.clone import Clone
from tests.support.serving import CANCEL_SECONDS, LONG, heed_interrupts, wait_for, workers_of

SMALL = {"normalize.train_images": 500, "model.filters": [4, 4, 4], "train.epochs": 2, "train.precision": "float32"}


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Path:
    clone.reset()
    monkeypatch.chdir(clone.path)
    return clone.path


def names(clone: Clone, settings: dict[str, Any] = SMALL, variants: tuple[str, ...] = ("none", "dropout")) -> list[str]:
    return [trial.name for trial in plan.plan(clone.path, list(variants), 2, settings)]


def test_a_plan_has_every_variant_of_a_seed_before_the_next_and_only_the_seed_differs(clone: Clone) -> None:
    planned = plan.plan(clone.path, ["none", "l2", "none+dropout"], 2, {"train.epochs": 4})
    assert [(trial.variant, trial.seed) for trial in planned] == [
        (variant, seed) for seed in (0, 1) for variant in ("none", "l2", "none+dropout")
    ]
    assert planned[2].overrides["regularize.dropout"] == 0.5
    changed = {key for key, value in planned[0].overrides.items() if planned[3].overrides[key] != value}
    assert changed == {"normalize.seed", "train.seed"}
    assert all(trial.overrides["train.epochs"] == 4 for trial in planned)


def test_what_a_variant_sets_is_said_in_words(clone: Clone) -> None:
    settings = {"train.epochs": 4}
    planned = plan.plan(clone.path, ["none", "less_capacity", "batch_norm", "l2_strength"], 1, settings)
    said = plan.describe_overrides(planned)
    assert said["none"] == ""
    assert said["less_capacity"] == "filters [8, 16, 32], dense_units 32"
    assert said["batch_norm"] == "batch_norm true"
    assert said["l2_strength=0.001"] == "l2 0.001"


def test_a_name_changes_with_parameters_and_code_and_with_nothing_else(clone: Clone) -> None:
    before = names(clone)
    assert names(clone, {**SMALL, "train.epochs": 3}) != before
    clone.edit(study__seeds=9)
    (clone.path / "README.md").write_text("other words")
    for drawn in ("tasks/reporting/figures.py", "tasks/report.py", "dvc.yaml"):  # but a command, which a trial runs
        (clone.path / drawn).open("a").write("# of no trial\n")
    clone.commit("words and figures")
    assert names(clone) == before
    network = clone.path / "tasks/models/network.py"
    network.write_text(network.read_text() + "# changed\n")
    assert names(clone) == before  # a run starts from HEAD
    clone.commit("code")
    after = names(clone)
    assert set(after).isdisjoint(before)
    with (clone.path / "requirements.lock").open("a") as file:
        file.write("# another version of Prefect\n")
    clone.commit("a library that decides nothing")
    assert names(clone) == after
    versions = clone.path / "libraries.yaml"
    versions.write_text(re.sub("keras: .*", 'keras: "4.0.0"', versions.read_text()))
    clone.commit("a library that decides")
    assert set(names(clone)).isdisjoint(after)


def test_a_run_names_the_precision_that_auto_stands_for_on_the_machine(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = {**SMALL, "train.precision": "auto"}
    monkeypatch.setattr("flows.study.plan._host_precision", lambda device: {"auto": "mixed_bfloat16"}[device])
    assert {t.overrides["train.precision"] for t in plan.plan(clone.path, ["none"], 1, auto)} == {"mixed_bfloat16"}
    (pretrained,) = plan.plan(clone.path, ["none"], 1, {**auto, "model.network": "efficientnet_lite0"})
    assert pretrained.overrides["train.precision"] == "float32"
    assert set(names(clone, auto)).isdisjoint(names(clone))
    monkeypatch.undo()
    monkeypatch.chdir(clone.path)
    (here,) = plan.plan(clone.path, ["none"], 1, auto)
    assert here.overrides["train.precision"] in {"float32", "mixed_bfloat16"}


def test_a_study_for_another_device_than_this_machine_has_says_what_to_add(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(device: str) -> tuple[str, str]:
        raise RuntimeError(f"no {device}")

    monkeypatch.setattr("flows.host.compute.here", here)
    asked = {**SMALL, "train.precision": "auto", "train.device": "gpu"}
    with pytest.raises(ParameterError, match=r"device: gpu; add --set train\.precision=mixed_bfloat16, or float32"):
        plan.plan(clone.path, ["none"], 1, asked, are_fixed=True)
    (planned,) = plan.plan(clone.path, ["none"], 1, {**asked, "train.precision": "float32"}, are_fixed=True)
    assert planned.overrides["train.device"] == "gpu"


def test_a_run_on_many_machines_names_what_each_would_decide_for_itself(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.host.compute.here", lambda device: ("cpu", "mixed_bfloat16"))
    monkeypatch.setattr("flows.study.plan._host_threads", lambda: 3)
    auto = {**SMALL, "train.precision": "auto"}
    (here,) = plan.plan(clone.path, ["none"], 1, auto)
    assert not {"train.device", "train.threads"} & here.overrides.keys()
    (fixed,) = plan.plan(clone.path, ["none"], 1, auto, are_fixed=True)
    chosen = {"train.precision": "mixed_bfloat16", "train.device": "cpu", "train.threads": 3}
    assert fixed.overrides == {**here.overrides, **chosen}
    (same,) = plan.plan(clone.path, ["none"], 1, {**auto, **chosen})
    assert fixed.name == same.name
    (set_,) = plan.plan(clone.path, ["none"], 1, {**auto, "train.threads": 1}, are_fixed=True)
    assert set_.overrides["train.threads"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--variants", "none,drop"], "drop: is no variant; did you mean dropout?"),
        (["--set", "train.epoch=3"], "train.epoch: is no parameter; did you mean train.epochs?"),
        (["--set", "train.epochs=0"], "train.epochs: must be greater than or equal to 1; received 0"),
        (["--set", "train.epochs"], "--set must be KEY=VALUE; received train.epochs"),
        (["--set", "train.epochs=["], "--set train.epochs, line "),
        (["--set", "train.seed=3"], "train.seed: is what a seed sets, so it cannot be set for all runs"),
        (["--variants", "none,l2", "--set", "regularize.l2=0.1"], "regularize.l2: is what variant l2 varies"),
        (
            ["--variants", "none,augmentation", "--set", "regularize.augment={flip: none}"],
            "is what variant augmentation",
        ),
        (["--variants", "none,reference+fast"], "must be set alike by its parts; received two values"),
        (["--name", "../docs"], "name must be of lower-case letters, digits and hyphens; received '../docs'"),
        (["--seeds", "0"], "seeds must be at least 1; received 0"),
        (
            ["--on", "machines"],
            "--on machines needs a Prefect server that all machines reach; received none",
        ),
        (["--status"], "--status needs a Prefect server that all machines reach; received none"),
        (["--set", "normalize.validation_fraction=0"], "a study needs normalize.validation_fraction above 0"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert study_page.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_a_variant_that_breaks_a_rule_is_an_error_before_anything_runs(clone: Clone) -> None:
    clone.edit(study__variants__bad={"train.optimizer": "adam", "regularize.weight_decay": 0.1})
    with pytest.raises(ParameterError, match=r"weight_decay: must be 0 with train.optimizer adam"):
        plan.plan(clone.path, ["none", "bad"], 1, {})


def test_a_seed_is_nothing_that_a_variant_sets(clone: Clone) -> None:
    clone.edit(study__variants__other={"train.seed": 3})
    with pytest.raises(ParameterError, match=r"train\.seed: is what a seed sets, so no variant can"):
        plan.plan(clone.path, ["none", "other"], 1, {})


def command(*arguments: str, variants: str = "none,dropout", seeds: int = 2) -> list[str]:
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["python", "-m", "flows.study", "--variants", variants, "--seeds", str(seeds), *settings, *arguments]


def rows(clone: Clone) -> list[dict[str, str]]:
    with (clone.path / "reports/study/study.csv").open() as file:
        return list(csv.DictReader(file))


def everything(clone: Clone) -> dict[str, bytes]:
    """All that a user has in the folder, outputs included, but for the study's own report."""
    names = clone.run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    outputs = [path for folder in ("data", "models", "reports") for path in (clone.path / folder).rglob("*")]
    files = {*(clone.path / name for name in names), *outputs}
    report = clone.path / "reports/study"
    return {str(path): path.read_bytes() for path in files if path.is_file() and not path.is_relative_to(report)}


@pytest.mark.slow
def test_a_killed_study_finishes_only_what_is_missing_and_touches_no_file_of_the_user(clone: Clone) -> None:
    clone.edit(train__epochs=77)  # an edit that is not committed
    before = everything(clone)
    killed = subprocess.Popen(command(), cwd=clone.path, env=clone.environment, start_new_session=True)
    until = time.monotonic() + 180
    while not trial.finished(clone.path) or not list((clone.path / ".dvc/tmp/worktrees").glob("[a-z]*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    wait_for("the end of its steps", lambda: not workers_of(clone), 5)
    left = list((clone.path / ".dvc/tmp/worktrees").glob("[a-z]*"))
    there = trial.finished(clone.path)
    assert left
    checkpoint = clone.path / ".checkpoints/0123/epoch-00001"
    checkpoint.mkdir(parents=True)

    said = clone.run(*command())
    assert f"4 runs: {len(there)} exist already, {4 - len(there)} to run" in said
    assert "uncommitted changes" in said
    assert not any(path.exists() for path in left)
    assert checkpoint.exists()
    assert everything(clone) == before
    found = trial.finished(clone.path)
    assert there.items() <= found.items()
    assert [row["experiment"] for row in rows(clone)] == names(clone)
    for row in rows(clone):
        params = YAML(typ="safe").load(clone.run("git", "show", f"{found[row['experiment']]}:params.yaml"))
        assert params["normalize"]["seed"] == params["train"]["seed"] == int(row["seed"])
        assert params["regularize"]["dropout"] == (0.5 if row["variant"] == "dropout" else 0.0)
        assert (params["train"]["epochs"], params["normalize"]["train_images"]) == (2, 500)
        metrics = json.loads(clone.run("git", "show", f"{found[row['experiment']]}:reports/metrics.json"))
        assert float(row["generalization_gap"]) == metrics["generalization_gap"]
    assert names(clone)[0] in clone.run("dvc", "exp", "list", "--all-commits")

    report = {path.name: path.read_bytes() for path in (clone.path / "reports/study").iterdir()}
    killed_again = clone.path / ".dvc/tmp/worktrees/none-seed9-00000000"
    killed_again.mkdir()
    assert "4 runs: 4 exist already, 0 to run" in clone.run(*command())
    assert not killed_again.exists()
    assert {path.name: path.read_bytes() for path in (clone.path / "reports/study").iterdir()} == report


@pytest.mark.slow
def test_a_failing_run_is_named_and_the_rest_goes_on(clone: Clone) -> None:
    clone.edit(study__variants__mad={"train.optimizer": "sgd", "train.learning_rate": 1e9})
    clone.commit("a mad variant")
    said = clone.run(*command(variants="none,mad", seeds=1), status=1)
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert "1 of 2 runs failed, the first mad-seed0-" in line
    assert "must stay finite" in said
    assert [row["variant"] for row in rows(clone)] == ["none"]
    report = (clone.path / "reports/study/study.md").read_text()
    assert re.search(r"- mad-seed0-\S+ failed, and is not in these tables: ", report)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_study_and_everything_below_it(clone: Clone, signal_: signal.Signals) -> None:
    long = [
        "python",
        "-m",
        "flows.study",
        "--variants",
        "none,dropout",
        "--seeds",
        "2",
        "--set",
        f"train.epochs={LONG}",
    ]
    with subprocess.Popen(
        [*long, "--set", "normalize.train_images=500"], cwd=clone.path, env=clone.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if "epoch 2/" in line)
        process.send_signal(signal_)
        started = time.monotonic()
        rest = process.stdout.read()
        assert process.wait() == 130
    assert time.monotonic() - started < 2 * CANCEL_SECONDS
    assert "error: interrupted; the same command finishes what is missing" in rest
    assert workers_of(clone) == []
    left = [one for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(clone.path))]
    assert [one for one in left if one.pid != os.getpid()] == []  # Prefect's temporary server neither
    assert "dropout" not in "".join(trial.finished(clone.path))


@pytest.mark.parametrize(
    ("allowed", "listed", "found"),
    [
        (None, "GPU 0: one (UUID: a)\nGPU 1: two (UUID: b)", ["0", "1"]),
        (None, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\nIs it running?", []),
        ("3,5", "GPU 0: one (UUID: a)", ["3", "5"]),
        ("", "GPU 0: one (UUID: a)", []),
    ],
)
def test_a_job_is_one_of_the_gpus_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, listed: str, found: list[str]
) -> None:
    """The command is a script here: this machine may have no GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if allowed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert resources.gpus() == found
    assert resources.default_jobs() == (len(found) or max(len(resources._cores()) // 2, 1))  # there is memory for these


@pytest.mark.slow
def test_two_studies_at_once_share_the_work(clone: Clone) -> None:
    both = [
        subprocess.Popen(
            command(seeds=1), cwd=clone.path, env=clone.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count("Running stage 'train'") for text in said) == 2
    assert len(trial.finished(clone.path)) == 2
    assert len(rows(clone)) == 2
