"""The gate over seeds: what it refuses, runs, repeats, and names as failed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import gate
from flows.repo.git import read_blob
from flows.runs.inputs import recorded_digest
from flows.runs.trial import finished
from flows.study import two_commits
from tests.support import ROOT
from tests.support.clone import Clone, enter_copy
from tests.support.parameters import edit
from tests.support.serving import heed_interrupts
from tests.support.toy_pipeline import STAGES, commit, dvc, git

OF_SEED = 'if train["seed"] == 1 and train["epochs"] == 5:'  # only here, as the base trains for fewer epochs


@pytest.fixture(scope="module")
def longer(run_before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy pipeline with two commits, the second of which trains longer; never to be written."""
    path = tmp_path_factory.mktemp("longer") / "toy"
    shutil.copytree(run_before, path, symlinks=True)
    edit(path / "params.yaml", train__epochs=5)
    commit(path, "longer")
    return path


@pytest.fixture
def toy(longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its copy, to work in."""
    return enter_copy(longer, tmp_path / "toy", monkeypatch)


@pytest.fixture
def photos(toy: Path) -> Path:
    """The same with pictures that git does not keep, changed by the second commit."""
    with (toy / ".gitignore").open("a") as file:
        file.write("/photos\n")
    (toy / "photos").mkdir()
    (toy / "dvc.yaml").write_text(STAGES.replace("{images: curve.csv}", "{images: photos}"))
    for name in ("a.png", "b.png"):
        (toy / "photos" / name).write_text(name)
        dvc(toy, "repro", "--quiet")
        commit(toy, f"with {name}")
    return toy


def over_seeds(*arguments: str, base: str = "HEAD~1") -> list[str]:
    return [sys.executable, "-m", "flows.gate", "--base", base, "--seeds", "3", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run(path: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the gate as a person does; return status, output and messages."""
    done = subprocess.run(
        over_seeds(*arguments), cwd=path, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "2"], "--seeds must be at least 3, as fewer tell nothing; received 2"),
        (["--seeds", "1"], "--seeds must be at least 3"),
        (["--seeds", "0"], "--seeds must be at least 3"),
        (["--seeds", "-1"], "--seeds must be at least 3"),
        (["--seeds", "3", "--jobs", "0"], "jobs must be at least 1; received 0"),
        (["--seeds", "3", "--on", "machines"], "--on machines needs a Prefect server that all machines reach"),
        (["--seeds", "3", "--here", "nowhere"], "--here must be a commit of this repository; received nowhere"),
        (["--seeds", "3", "--here", "HEAD~1"], "must be two commits; both sides are "),
        (["--seeds", "3", "--base", "main"], "must be two commits; both sides are "),
        (["--here", "HEAD~1"], "must be two commits; both sides are "),
        (["--jobs", "2"], "--jobs must stand with --seeds"),
        (["--on", "here"], "--on must stand with --seeds"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    longer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(longer)
    assert gate.main(["--base", "HEAD~1", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not finished(longer)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("params.yaml", "optimizer: muon", "optimiser: muon", "params.yaml of HEAD~1: train.optimiser: "),
        ("params.yaml", "epochs: 5", "epochs: 0", "params.yaml of HEAD~1: train.epochs: must be greater "),
        ("params.yaml", None, None, "params.yaml must be in commit "),
        ("dvc.yaml", None, None, "dvc.yaml must be in commit "),
        ("dvc.yaml", "  evaluate:", "  score:", " must have stage evaluate; received none of this name"),
    ],
)
def test_a_base_that_cannot_run_is_one_line(
    toy: Path, capsys: pytest.CaptureFixture[str], file: str, old: str | None, new: str | None, says: str
) -> None:
    content = (toy / file).read_text()
    if old is None or new is None:
        (toy / file).unlink()
    else:
        assert old in content
        (toy / file).write_text(content.replace(old, new))
    commit(toy, "a base that cannot run")
    (toy / file).write_text(content)
    (toy / "curve.csv").touch()
    commit(toy, "whole again")
    assert gate.main(over_seeds()[3:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    has_wrong_parameters = file == "params.yaml" and old is not None
    assert ("; --seeds runs parameters of this version alone; leave it out" in line) == has_wrong_parameters


def test_each_side_has_its_own_parameters_and_both_have_the_seed(toy: Path) -> None:
    edit(toy / "params.yaml", train__epochs=6)  # which is not committed
    plan = two_commits.prepare(toy, "HEAD~1", "", 3, None, "here")
    assert [(trial.variant, trial.seed) for trial in plan.trials] == [
        (side, seed) for seed in range(3) for side in ("base", "here")
    ]
    assert {trial.commit for trial in plan.trials[::2]} == {git(toy, "rev-parse", "HEAD~1").strip()}
    assert {trial.commit for trial in plan.trials[1::2]} == {git(toy, "rev-parse", "HEAD").strip()}
    for trial in plan.trials:
        assert trial.overrides["normalize.seed"] == trial.overrides["train.seed"] == trial.seed
        assert "train.epochs" not in trial.overrides
    assert len({trial.name for trial in plan.trials}) == 6
    fixed = two_commits.prepare(toy, "HEAD~1", "", 3, None, "machines")
    assert all({"train.precision", "train.device", "train.threads"} <= trial.overrides.keys() for trial in fixed.trials)


def test_sides_that_are_alike_share_their_runs(toy: Path) -> None:
    (toy / "words").write_text("that no stage reads")
    commit(toy, "words")
    trials = two_commits.prepare(toy, "HEAD~1", "", 3, None, "here").trials
    assert [trial.name for trial in trials[::2]] == [trial.name for trial in trials[1::2]]


@pytest.mark.slow
def test_images_that_are_lost_are_one_line(photos: Path) -> None:
    found = recorded_digest(read_blob(photos, "HEAD~1", "dvc.lock"), "images", "photos")
    assert found is not None
    (photos / ".dvc/cache/files/md5" / found[:2] / found[2:]).unlink()
    with pytest.raises(RuntimeError, match="data/raw of HEAD~1 must be in DVC's cache or remote, as git does not keep"):
        two_commits.prepare(photos, "HEAD~1", "", 3, None, "here")
    shutil.rmtree(photos / "data/raw")
    (photos / "dvc.lock").unlink()
    commit(photos, "without a lock")
    with pytest.raises(RuntimeError, match=r"data/raw of HEAD must be .*; dvc\.lock of HEAD has none; choose another"):
        two_commits.prepare(photos, "HEAD~3", "HEAD", 3, None, "here")
    assert len(two_commits.prepare(photos, "HEAD~3", "HEAD~1", 3, None, "here").trials) == 6


@pytest.mark.slow
def test_another_backbone_than_the_one_of_a_side_is_one_line(toy: Path) -> None:
    (toy / ".gitignore").open("a").write("/weights.keras\n")
    (toy / "dvc.yaml").write_text(STAGES.replace("{backbone: curve.csv}", "{backbone: weights.keras}"))
    for content in ("first", "second"):
        (toy / "weights.keras").write_text(content)
        dvc(toy, "repro", "--quiet")
        commit(toy, content)
    with pytest.raises(
        RuntimeError, match=r"weights\.keras must be the backbone of HEAD~1, whose MD5 is \w+; received"
    ):
        two_commits.prepare(toy, "HEAD~1", "", 3, None, "here")


@pytest.mark.slow
def test_a_base_runs_on_the_pictures_that_it_had(photos: Path) -> None:
    said = run(photos)
    assert said[0] == 0, said[2]
    runs = finished(photos)
    assert len(runs) == 6
    plan = two_commits.prepare(photos, "HEAD~1", "", 3, None, "here")
    for trial in plan.trials:
        digests = (read_blob(photos, commit_, "dvc.lock") for commit_ in (trial.commit, runs[trial.name]))
        assert len({recorded_digest(lock, "images", "photos") for lock in digests}) == 1
    assert len({recorded_digest(read_blob(photos, one, "dvc.lock"), "images", "photos") for one in runs.values()}) == 2


@pytest.mark.slow
def test_a_seed_that_fails_on_one_side_is_named_and_the_same_command_runs_the_rest(toy: Path) -> None:
    failing = f'{OF_SEED}\n    sys.exit("error: the loss must stay finite")\n'
    step = (toy / "step.py").read_text()
    (toy / "step.py").write_text(step.replace("n, wrong", f"{failing}n, wrong"))
    git(toy, "commit", "--quiet", "--all", "--amend", "--message", "one that fails")
    status, out, said = run(toy)
    assert (status, out) == (2, "")
    last = said.splitlines()[-1]
    assert last.startswith("error: the verdict is unknown, as 1 of 6 runs failed")
    assert last.endswith("here seed 1: error: the loss must stay finite")
    assert len(finished(toy)) == 5
    assert "6 runs: 5 exist already, 1 to run" in run(toy)[2]


@pytest.mark.slow
def test_other_classes_are_refused_before_anything_runs(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = (toy / "step.py").read_text()
    (toy / "step.py").write_text(step.replace('"dog"]', '"cow"]'))
    dvc(toy, "repro", "--quiet")
    commit(toy, "cows")
    assert gate.main(over_seeds()[3:]) == 2
    assert "must have the same classes; received cow, dog on one side alone" in capsys.readouterr().err
    assert not finished(toy)


@pytest.mark.slow
def test_an_interrupted_gate_keeps_its_runs(toy: Path) -> None:
    step = (toy / "step.py").read_text()
    (toy / "step.py").write_text(step.replace("n, wrong", f"{OF_SEED}\n    import time; time.sleep(99)\nn, wrong"))
    git(toy, "commit", "--quiet", "--all", "--amend", "--message", "one that waits")
    with subprocess.Popen(
        over_seeds("--jobs", "1"), cwd=toy, env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if "'here seed 1'" in line and "> python step.py" in line)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "error: interrupted; the same command finishes what is missing" in rest
    assert len(finished(toy)) == 3


@pytest.mark.slow
def test_a_gate_of_two_commits_runs_once_and_leaves_the_files_of_the_user(clone: Clone) -> None:
    clone.reset()
    clone.edit(normalize__train_images=500, train__epochs=1)
    clone.commit("one epoch")
    clone.edit(train__epochs=2)
    clone.commit("two epochs")
    clone.edit(train__epochs=77)  # which is in no run
    before = clone.run("git", "status", "--porcelain")
    arguments = ("python", "-m", "flows.gate", "--base", "HEAD~1", "--seeds", "3", "--tolerance", "100")
    said = clone.run(*arguments)
    assert "6 runs: 0 exist already, 6 to run" in said
    assert "uncommitted changes to\n M params.yaml" in said
    runs = finished(clone.path)
    assert len(runs) == 6
    epochs = [clone.run("git", "show", f"{one}:reports/history.csv").count("\n") - 1 for one in runs.values()]
    assert sorted(epochs) == [1, 1, 1, 2, 2, 2]
    assert clone.run("git", "status", "--porcelain") == before
    clone.run("git", "checkout", "params.yaml")
    (clone.path / "README.md").write_text("other words")
    clone.commit("words")
    again = clone.run(*arguments[:4], "HEAD~2", *arguments[5:], "--json")
    assert "6 runs: 6 exist already, 0 to run" in again
    assert json.loads(again[re.search(r"^\{", again, re.MULTILINE).start() :])["metrics"]  # type: ignore[union-attr]
    assert finished(clone.path) == runs
