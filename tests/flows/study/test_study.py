"""The study in a scratch clone: mistakes, resumption, failures, two at once."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from flows.runs import trial
from flows.study import __main__ as study_page
from flows.study import plan
from tests.support.clone import Clone
from tests.support.serving import CANCEL_SECONDS, LONG, heed_interrupts, wait_for, workers_of

SMALL = {"normalize.train_images": 500, "model.filters": [4, 4, 4], "train.epochs": 2, "train.precision": "float32"}


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Path:
    clone.reset()
    monkeypatch.chdir(clone.path)
    return clone.path


def names(clone: Clone) -> list[str]:
    return [trial.name for trial in plan.plan(clone.path, ["none", "dropout"], 2, SMALL)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--variants", "none,drop"], "drop: is no variant; did you mean dropout?"),
        (["--set", "train.epochs=0"], "train.epochs: must be greater than or equal to 1; received 0"),
        (["--set", "train.epochs=["], "--set train.epochs, line "),
        (["--set", "train.seed=3"], "train.seed: is what a seed sets, so it cannot be set for all runs"),
        (["--variants", "none,l2", "--set", "regularize.l2=0.1"], "regularize.l2: is what variant l2 varies"),
        (["--variants", "none,augmentation", "--set", "regularize.augment={flip: none}"], "is what variant augment"),
        (["--variants", "none,reference+fast"], "must have one value in all parts; received two"),
        (["--name", "../docs"], "name must be of lower-case letters, digits and hyphens; received '../docs'"),
        (["--seeds", "0"], "seeds must be at least 1; received 0"),
        (["--on", "machines"], "--on machines needs a Prefect server that all machines reach; received none"),
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


def command(*arguments: str, variants: str = "none,dropout", seeds: int = 2) -> list[str]:
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["python", "-m", "flows.study", "--variants", variants, "--seeds", str(seeds), *settings, *arguments]


def rows(clone: Clone) -> list[dict[str, str]]:
    with (clone.path / "reports/study/study.csv").open() as file:
        return list(csv.DictReader(file))


def everything(clone: Clone) -> dict[str, bytes]:
    """Read all files of the user and outputs, but the study's report."""
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
def test_a_study_by_balanced_accuracy_has_its_scores_and_writes_its_report_again(clone: Clone) -> None:
    clone.run(*command("--set", "evaluate.headline=balanced_accuracy", variants="none,dropout", seeds=1))
    found = trial.finished(clone.path)
    for row in rows(clone):
        metrics = json.loads(clone.run("git", "show", f"{found[row['experiment']]}:reports/metrics.json"))
        for split in ("train", "validation", "test"):
            assert float(row[f"{split}_balanced_accuracy"]) == metrics[split]["balanced_accuracy"]
        assert float(row["generalization_gap"]) == pytest.approx(metrics["generalization_gap"], abs=1e-6)
    report = {path.name: path.read_bytes() for path in (clone.path / "reports/study").iterdir()}
    assert b"validation balanced accuracy" in report["study.md"]
    for ref in clone.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines():
        clone.run("git", "update-ref", "-d", ref)
    clone.run("python", "-m", "flows.study", "--report")
    assert {path.name: path.read_bytes() for path in (clone.path / "reports/study").iterdir()} == report


@pytest.mark.slow
def test_a_study_ends_with_its_first_run_where_that_is_refused_before_it_trains(clone: Clone) -> None:
    clone.edit(study__variants__small={"normalize.size": 1000})  # above the longest side of all images
    said = clone.run(*command("--jobs", "1", variants="small,none", seeds=4), status=1)
    last = said.splitlines()[-1]
    assert last.startswith(
        "error: the study was ended, as its first run, small seed 0, was refused: error: normalize: "
    )
    assert len(set(re.findall(r"Task run '(\w+ seed \d)'", said))) <= 2  # the second may have begun
    assert "Running stage 'train'" not in said
    assert "Traceback" not in said
    assert not trial.finished(clone.path)


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
    with subprocess.Popen(
        command("--set", f"train.epochs={LONG}"), cwd=clone.path, env=clone.environment, text=True,
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
    left = [one.pid for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(clone.path))]
    assert set(left) <= {os.getpid()}  # Prefect's temporary server has ended, too
    assert "dropout" not in "".join(trial.finished(clone.path))
