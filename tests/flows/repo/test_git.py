"""Unusual repositories: bigger or partial ones, hooks, merges, no identity."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from flows import doctor, gate
from flows import summary as summary_page
from flows.pipeline import __main__ as pipeline
from flows.repo import commands
from flows.runs import experiments, inputs, trial
from flows.runs.processes import repro
from flows.study import __main__ as study
from flows.study import plan, results
from tasks.params import ParameterError
from tasks.params import __main__ as params
from tasks.training.checkpoints import Checkpoints, TrainingState
from tests.support import ROOT
from tests.support.clone import IDENTITY, enter_copy
from tests.support.edits import substitute
from tests.support.parameters import edit
from tests.support.toy_pipeline import commit, dvc, git, write


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two runs: seed 0, then seed 1."""
    path = tmp_path_factory.mktemp("git") / "origin"
    write(path)
    for seed in (0, 1):
        edit(path / "params.yaml", train__seed=seed)
        dvc(path, "repro", "--quiet")
        commit(path, f"seed {seed}")
    git(path, "config", "uploadpack.allowFilter", "true")
    return path


@pytest.fixture
def project(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its copy, to work in."""
    return enter_copy(origin, tmp_path / "project", monkeypatch)


def subfolder(origin: Path, place: Path) -> Path:
    project = place / "mono/some/project"
    shutil.copytree(origin, project, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (place / "mono/other.txt").write_text("another team's")
    git(place / "mono", "init", "--quiet")
    commit(place / "mono", "all")
    return project


def submodule(origin: Path, place: Path) -> Path:
    (place / "super").mkdir()
    git(place / "super", "init", "--quiet")
    git(place / "super", "submodule", "--quiet", "add", origin.as_uri(), "lib/project")
    return with_cache(origin, place / "super/lib/project")


def shallow(origin: Path, place: Path) -> Path:
    git(place, "clone", "--quiet", "--depth", "1", origin.as_uri(), "shallow")
    return with_cache(origin, place / "shallow")


def worktree(origin: Path, place: Path) -> Path:
    """Add a worktree by hand. (Of a submodule DVC itself refuses it.)"""
    git(subfolder(origin, place), "worktree", "add", "--quiet", "--detach", str(place / "own"))
    return with_cache(origin, place / "own/some/project")


def with_cache(origin: Path, clone: Path) -> Path:
    shutil.copytree(origin / ".dvc/cache", clone / ".dvc/cache")
    return clone


Layout = Callable[[Path, Path], Path]
BIGGER = [subfolder, submodule]
LAYOUTS = [*BIGGER, *(pytest.param(layout, marks=pytest.mark.slow) for layout in (shallow, worktree))]


def isolated_run(root: Path, name: str = "mine") -> None:
    with experiments.isolated_worktree(root, {"train.seed": 3}, name) as checkout:
        repro(checkout, name, 60, print)
        experiments.save(checkout, name)


def keep_apart(root: Path, name: str = "mine") -> None:
    with experiments.isolated_worktree(root, {"train.seed": 3}, name) as checkout:
        experiments.save(checkout, name)


def author(root: Path, name: str) -> str:
    """Make an experiment; return its author and committer."""
    keep_apart(root, name)
    return git(root, "log", "-1", "--format=%an <%ae>, %cn <%ce>", trial.finished(root)[name]).strip()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_isolated_run_is_kept_wherever_the_project_lies(origin: Path, tmp_path: Path, layout: Layout) -> None:
    root = layout(origin, tmp_path)
    isolated_run(root)
    text = git(root, "show", f"{trial.finished(root)['mine']}:./params.yaml")
    assert YAML(typ="safe").load(text)["train"]["seed"] == 3
    assert git(root, "status", "--porcelain", ".") == ""
    assert "mine" not in git(root, "worktree", "list")
    (planned,) = plan.plan(root, ["none"], 1, {})
    found = trial.Trial("none", 0, {}, "mine", planned.commit)
    (row,) = results.collect(root, [found], trial.finished(root))
    assert row.test == pytest.approx(0.75)
    assert row.generalization_gap == 0  # as both splits have the same accuracy
    assert plan.code_at(root, "HEAD").keys() == {*trial.TRIAL_STAGES, "step.py"}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dvc_lists_and_applies_what_was_kept(origin: Path, tmp_path: Path, layout: Layout) -> None:
    root = layout(origin, tmp_path)
    isolated_run(root)
    assert dvc(root, "exp", "list", "--name-only").split() == ["mine"]
    dvc(root, "exp", "apply", "mine")
    assert "didn't change, skipping" in dvc(root, "repro")
    assert git(root, "diff", "--name-only", "--relative").split() == ["dvc.lock", "params.yaml", "reports/metrics.json"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", BIGGER)
def test_flow_and_study_run_in_a_part_of_a_bigger_repository(origin: Path, tmp_path: Path, layout: Layout) -> None:
    root = layout(origin, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    flow = "from flows.pipeline.flow import pipeline; pipeline(overrides={'train.seed': 4}); pipeline()"
    subprocess.run([sys.executable, "-c", flow], cwd=root, env=environment, check=True)
    command = [sys.executable, "-m", "flows.study", "--variants", "none", "--seeds", "1"]
    subprocess.run(command, cwd=root, env=environment, check=True)
    assert len(trial.finished(root)) == 2
    assert (root / "reports/study/study.csv").exists()


@pytest.mark.parametrize("slot", inputs.READERS)
def test_an_isolated_run_is_given_what_a_slot_names_and_git_does_not_keep(
    origin: Path, tmp_path: Path, slot: str
) -> None:
    root = subfolder(origin, tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/rose.jpg").write_bytes(b"a rose")
    (root / "own").symlink_to(tmp_path / "photos")
    substitute(root / "dvc.yaml", f"{slot}: curve.csv", f"{slot}: own")
    git(root, "commit", "--all", "--quiet", "--message", "our own")
    with experiments.isolated_worktree(root, {"train.seed": 3}, "mine") as checkout:
        assert (checkout / "own/rose.jpg").read_bytes() == b"a rose"
    assert (tmp_path / "photos/rose.jpg").exists()  # only the link went with the worktree


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("own/../../../../photos", "the {slot} .* absolute path.*; write {place}/photos, .*repro {stage} "),
        ("{place}/mono/some/project/own/photos", "the {slot} .* relative .*; write own/photos, .*repro {stage} "),
    ],
    ids=["outside of the repository", "absolute, in the project"],
)
@pytest.mark.parametrize(("slot", "stage"), inputs.READERS.items())
def test_a_slot_that_other_clones_would_not_find_is_refused_with_what_to_write(
    origin: Path, tmp_path: Path, slot: str, stage: str, path: str, told: str
) -> None:
    root = subfolder(origin, tmp_path)
    substitute(root / "dvc.yaml", f"{slot}: curve.csv", f"{slot}: {path.format(place=tmp_path)}")
    with pytest.raises(ParameterError, match=told.format(slot=slot, stage=stage, place=tmp_path)):
        inputs.check_inputs(root)


def test_a_slot_in_the_repository_may_lie_above_the_project_or_begin_with_dots(origin: Path, tmp_path: Path) -> None:
    root = subfolder(origin, tmp_path)
    (root / "..own").write_text("a list")
    substitute(root / "dvc.yaml", "images: curve.csv", "images: ../../other.txt")
    substitute(root / "dvc.yaml", "backbone: curve.csv", "backbone: ..own")
    commit(root, "slots")
    inputs.check_inputs(root)  # git keeps them


def test_an_absolute_slot_that_a_machine_lacks_is_not_made_there(origin: Path, tmp_path: Path) -> None:
    root = subfolder(origin, tmp_path)
    elsewhere = tmp_path / "only on/another machine"
    substitute(root / "dvc.yaml", "images: curve.csv", f"images: {elsewhere}")
    commit(root, "our own")
    with experiments.isolated_worktree(root, {"train.seed": 3}, "mine"):
        assert not os.path.lexists(elsewhere.parent)


@pytest.mark.parametrize(
    ("slot", "stage", "spelt"),
    [
        ("images", "download", "./own/"),
        *(
            pytest.param(slot, stage, path, marks=pytest.mark.slow)
            for slot, stage in inputs.READERS.items()
            for path in ("./own/", "own", "../../own")
            if (slot, path) != ("images", "./own/")
        ),
    ],
)
def test_what_a_slot_holds_must_be_as_it_was_committed(
    origin: Path, tmp_path: Path, slot: str, stage: str, spelt: str
) -> None:
    root = subfolder(origin, tmp_path)
    inputs.check_inputs(root)  # git keeps it
    own = root / spelt
    own.mkdir()
    (own / "rose.jpg").write_bytes(b"a rose")
    substitute(root / "dvc.yaml", f"{slot}: curve.csv", f"{slot}: {spelt}")
    git(root, "commit", "--all", "--quiet", "--message", "our own")
    refused = pytest.raises(ParameterError, match=f"own must be committed as `dvc repro {stage}` found it")
    with refused:
        inputs.check_inputs(root)  # never read
    dvc(root, "repro", stage)
    with refused:
        inputs.check_inputs(root)  # not committed
    git(root, "commit", "--all", "--quiet", "--message", "read")
    inputs.check_inputs(root)
    name = plan.plan(root, ["none"], 1, {})[0].name
    (own / "tulip.jpg").write_bytes(b"a tulip")
    with refused:
        inputs.check_inputs(root)
    dvc(root, "repro", stage)
    git(root, "commit", "--all", "--quiet", "--message", "read again")
    assert plan.plan(root, ["none"], 1, {})[0].name != name


@pytest.mark.parametrize("layout", BIGGER)
def test_checkpoints_of_an_isolated_run_outlive_it(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    root = layout(origin, tmp_path)
    with experiments.isolated_worktree(root, {"train.seed": 3}, "mine") as checkout:
        monkeypatch.chdir(checkout)
        Checkpoints("a1b2").save(TrainingState([{"epoch": 0.0}], [np.ones(3)], {}, []))
    monkeypatch.chdir(root)
    assert Checkpoints("a1b2").newest() is not None


@pytest.mark.parametrize("layout", [pytest.param(subfolder, marks=pytest.mark.slow), submodule])
def test_the_doctor_finds_what_git_left_half_written_wherever_that_is(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    root = layout(origin, tmp_path)
    monkeypatch.chdir(root)
    top = (root / git(root, "rev-parse", "--git-dir").strip()).resolve()
    lock = top / "refs/heads/main.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    doctor.main([])
    assert f"{lock}: was left half-written; moved to .doctor/" in capsys.readouterr().out
    assert not lock.exists()
    assert len(list((root / ".doctor").rglob("main.lock"))) == 1


def compared(path: Path, base: str = "HEAD~1") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.gate", "--base", base], cwd=path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
def test_the_gate_gets_from_the_remote_what_a_blobless_clone_lacks(origin: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(origin, source)
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", source.as_uri(), "clone")
    clone = with_cache(origin, tmp_path / "clone")
    shutil.copy(origin / "reports/predictions.npz", clone / "reports")
    away = source.rename(tmp_path / "away")
    status, said = compared(clone)
    assert status == 2
    assert said.startswith("error: reports/metrics.json of HEAD~1 cannot be read: `git ")
    assert "fatal: could not fetch" in said
    assert len(said.splitlines()) == 1
    away.rename(source)
    status, said = compared(clone)
    assert status == 1
    assert "| test.accuracy          | 0.9000" in said
    assert "regression: test accuracy fell by 5.00 points" in said


@pytest.mark.slow
def test_the_gate_takes_predictions_from_the_remote_and_knows_experiments(project: Path, tmp_path: Path) -> None:
    isolated_run(project)
    (tmp_path / "store").mkdir()
    (project / ".dvc/cache/files").rename(tmp_path / "store/files")  # as `dvc push` lays them out
    dvc(project, "remote", "add", "--quiet", "--default", "store", "../store")
    status, said = compared(project)
    assert status == 1
    assert "regression" in said
    assert "without intervals" not in said
    status, said = compared(project, "mine")
    assert status == 0
    assert "| 0.7500" in said


@pytest.mark.slow
def test_a_remote_that_cannot_be_read_costs_the_gate_its_intervals_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(project))  # without credentials
    shutil.rmtree(project / ".dvc/cache/files")
    dvc(project, "remote", "add", "--quiet", "--default", "bucket", "s3://bucket/of-somebody")
    _, said = compared(project)
    assert "without intervals: reports/predictions.npz of HEAD~1 cannot be read: Unable to locate credentials" in said
    assert "Traceback" not in said


Entry = Callable[[], int]
ENTRIES: list[Entry] = [
    lambda: pipeline.main([]),
    lambda: study.main([]),
    lambda: gate.main(["--base", "HEAD"]),
    lambda: doctor.main([]),
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("entry", ENTRIES, ids=["pipeline", "study", "gate", "doctor"])
def test_a_repository_of_somebody_else_is_named_with_gits_remedy(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flow"])
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert entry() in {1, 2}
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ")
    assert "fatal: detected dubious ownership in repository at " in said
    assert "git config --global --add safe.directory " in said


@pytest.fixture(scope="module")
def two_branches(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two branches that both ran, in the middle of their merge."""
    path = tmp_path_factory.mktemp("branches") / "origin"
    shutil.copytree(origin, path, symlinks=True)
    git(path, "checkout", "--quiet", "-b", "other", "HEAD~1")
    edit(path / "params.yaml", train__seed=2)
    dvc(path, "repro", "--quiet")
    commit(path, "seed 2")
    with pytest.raises(subprocess.CalledProcessError):
        git(path, "merge", "--quiet", "main")
    return path


@pytest.fixture
def merging(two_branches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their copy, to work in."""
    return enter_copy(two_branches, tmp_path / "project", monkeypatch)


CONFLICTS = ["dvc.lock", "params.yaml", "reports/metrics.json"]


def test_every_entry_names_a_merge_and_leaves_its_files(
    merging: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (merging / name).read_bytes() for name in CONFLICTS}
    monkeypatch.setattr(sys, "argv", ["flow"])
    entries: list[Entry] = [*ENTRIES, summary_page.main, lambda: params.main([])]
    for entry in entries:
        assert entry() in {1, 2}
        said = "".join(capsys.readouterr())
        assert "hold one side of a merge; received both" in said
        assert len(said.splitlines()) == 1
    assert {name: (merging / name).read_bytes() for name in CONFLICTS} == before


@pytest.mark.parametrize("added", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_way_out_of_a_merge_that_is_named_ends_it(
    merging: Path, added: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if added:  # with the markers, by a `git add` too early
        git(merging, "add", "--all")
    assert doctor.main([]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{', '.join(CONFLICTS)} must hold one side of a merge; received both; choose in params.yaml, then `" in said
    params_file = merging / "params.yaml"
    ours_or_theirs = re.compile(r"<{7} .*?\n.*?={7}\n(.*?)>{7} .*?\n", re.DOTALL)
    params_file.write_text(ours_or_theirs.sub(r"\1", params_file.read_text()))
    (advice,) = re.findall("`(.+)`", said)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    identity = f"git {shlex.join(IDENTITY)}"
    command = advice.replace("git commit", f"{identity} commit --no-edit")
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert "Running stage" not in done.stdout  # all of it is in the run cache
    assert git(merging, "status", "--porcelain") == ""
    assert git(merging, "log", "--merges", "--format=%s").startswith("Merge branch 'main'")
    assert '"accuracy": 0.85' in (merging / "reports/metrics.json").read_text()


def test_an_isolated_run_is_kept_for_a_user_without_identity(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["git", "var", "GIT_COMMITTER_IDENT"], check=True, capture_output=True)
    assert author(project, "mine") == "pipeline <pipeline@localhost>, pipeline <pipeline@localhost>"
    git(project, "config", "user.name", "Ada")
    git(project, "config", "user.email", "ada@example.org")
    assert author(project, "hers") == "Ada <ada@example.org>, Ada <ada@example.org>"
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    assert author(project, "theirs") == "Grace <ada@example.org>, Ada <ada@example.org>"


HOOKS = ("post-checkout", "pre-commit", "post-commit", "post-index-change", "reference-transaction")


def failing_hooks(project: Path, folder: str) -> None:
    (project / folder).mkdir(exist_ok=True)
    for name in HOOKS:
        hook = project / folder / name
        hook.write_text(f"#!/bin/sh\necho ran >> {project}/hooked\nexit 1\n")
        hook.chmod(0o755)


@pytest.mark.parametrize("owner", ["git", "husky", pytest.param("dvc", marks=pytest.mark.slow)])
def test_no_hook_of_the_users_runs_on_an_isolated_run(project: Path, owner: str) -> None:
    if owner == "dvc":
        dvc(project, "install")
    else:
        failing_hooks(project, ".git/hooks" if owner == "git" else ".husky")
    if owner == "husky":
        git(project, "config", "core.hooksPath", ".husky")
    keep_apart(project)
    assert "mine" in trial.finished(project)
    assert not (project / "hooked").exists()


def test_what_dvc_says_of_its_failure_is_kept_without_its_advertisement(project: Path) -> None:
    shutil.rmtree(project / ".dvc/tmp")
    (project / ".dvc/tmp").write_text("in the way")
    says = r"^`dvc status` must succeed in .*; it ended with \d+: ERROR: unexpected error - .*: '.*/\.dvc/tmp'$"
    with pytest.raises(RuntimeError, match=says):
        commands.run(project, sys.executable, "-m", "dvc", "status")
