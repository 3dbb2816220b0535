"""The worktree of an isolated run, and the worktrees of others."""

import shlex
import subprocess
import sys

import pytest

from flows.runs import experiments
from flows.study.results import read_trailer
from tasks.params import ParameterError
from tests.support.clone import Clone


def test_worktrees_of_killed_runs_are_removed_and_those_of_running_ones_stay(clone: Clone) -> None:
    clone.reset()
    worktrees = clone.path / experiments.WORKTREES
    for name in ("killed", "running"):
        (worktrees / name).mkdir(parents=True)
    hold = "import sys; from pathlib import Path; from flows.runs.experiments import _owned\n"
    hold += "with _owned(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(worktrees / "running")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with experiments.isolated_worktree(clone.path, {"train.epochs": 3}, "mine") as mine:
            assert "  epochs: 3\n" in (mine / "params.yaml").read_text()
            assert {left.name for left in worktrees.iterdir() if left.is_dir()} == {"running", "mine"}
        other.communicate("")
    assert {left.name for left in worktrees.iterdir() if left.is_dir()} == {"running"}


def test_a_worktree_of_the_users_own_stays_known_though_its_disk_is_away(clone: Clone) -> None:
    clone.reset()
    own = clone.path.parent / "own"
    clone.run("git", "worktree", "add", "--quiet", "--detach", str(own))
    away = own.rename(clone.path.parent / "away")
    with experiments.isolated_worktree(clone.path, {"train.epochs": 3}, "mine"):
        pass
    experiments.remove_stale_worktrees(clone.path)
    listed = clone.run("git", "worktree", "list")
    away.rename(own)
    clone.run("git", "worktree", "remove", str(own))
    assert str(own) in listed
    assert "mine" not in listed


def test_an_isolated_run_leaves_nothing_outside_of_its_repository(clone: Clone) -> None:
    """DVC keeps a folder for each repository that it ever saw."""
    clone.reset()
    with experiments.isolated_worktree(clone.path, {"train.epochs": 3}, "mine") as mine:
        code = "from dvc.repo import Repo; print(Repo('.').site_cache_dir)"
        place = clone.run("bash", "-c", f"cd {mine} && python -c {shlex.quote(code)}")
    assert place.startswith(str(mine))


def test_an_experiment_keeps_what_it_was_made_on_also_where_its_commit_has_nothing_of_it(clone: Clone) -> None:
    clone.reset()
    clone.run("git", "rm", "--quiet", "reports/made_on.json")
    clone.commit("as it was before")
    with experiments.isolated_worktree(clone.path, {"train.epochs": 3}, "mine") as mine:
        (mine / "reports/made_on.json").write_text("{}")
        (mine / "reports/run.json").write_text('{"train": {"seconds": 41.2}}')
        experiments.save(mine, "mine")
    assert clone.run("git", "show", f"{experiments.reference(clone.path, 'mine')}:reports/made_on.json") == "{}"
    assert read_trailer(clone.path, experiments.reference(clone.path, "mine"), experiments.TRAINED) == "41.2"


def test_an_edited_study_block_alone_is_no_edit_that_a_run_misses(clone: Clone) -> None:
    clone.reset()
    clone.edit(study__seeds=9)
    assert experiments.uncommitted(clone.path) == ""
    clone.edit(train__epochs=9)
    assert experiments.uncommitted(clone.path) == " M params.yaml\n"
    clone.reset()


def test_a_bad_override_leaves_no_worktree(clone: Clone) -> None:
    clone.reset()
    with (
        pytest.raises(ParameterError, match=r"overrides: train\.epochs: must be .* 1; received 0"),
        experiments.isolated_worktree(clone.path, {"train.epochs": 0}, "mine"),
    ):
        pass
    assert "worktrees" not in clone.run("git", "worktree", "list")
