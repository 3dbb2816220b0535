"""The exchange between clones: its order, refusals, and kills."""

import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from flows.cluster import sync
from flows.repo.remotes import SyncError, find_remotes
from flows.runs import experiments, trial
from tasks.params import ParameterError
from tests.support import ROOT, machines
from tests.support.edits import substitute
from tests.support.machines import Meeting
from tests.support.serving import free_port
from tests.support.toy_pipeline import commit, dvc, git

SECRET = secrets.token_hex(16)


def keep(root: Path, name: str, message: str = "saved") -> str:
    """Save an experiment of HEAD's own results, unpublished; return its reference."""
    baseline = git(root, "rev-parse", "HEAD").strip()
    ref = f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"
    made = git(root, "commit-tree", "-p", "HEAD", "-m", message, "HEAD^{tree}").strip()
    git(root, "update-ref", ref, made)
    return ref


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_missing_remote_is_named_with_the_command_that_adds_it(meeting: Meeting) -> None:
    assert find_remotes(meeting.head) == ("origin", "store")
    git(meeting.head, "remote", "rename", "origin", "hub")
    assert find_remotes(meeting.head).git == "hub"  # the only one
    git(meeting.head, "remote", "add", "other", str(meeting.bare))
    with pytest.raises(ParameterError, match="received hub, other; `git remote add origin URL`"):
        find_remotes(meeting.head)
    git(meeting.head, "remote", "rename", "hub", "origin")
    meeting.configure(meeting.head, "")
    with pytest.raises(ParameterError, match="received none; `dvc remote add --default store URL`"):
        find_remotes(meeting.head)


@pytest.mark.parametrize("way", ["version_aware", "worktree"])
def test_a_remote_that_names_objects_by_their_paths_is_refused(meeting: Meeting, way: str) -> None:
    url = f"url = {meeting.store}\n"
    meeting.configure(meeting.head, meeting.remote.replace(url, f"url = s3://bucket/here\n    {way} = true\n"))
    with pytest.raises(ParameterError, match=f"received store with {way}, which names them by their paths"):
        find_remotes(meeting.head)


def test_a_relative_folder_is_refused_as_each_clone_has_its_own(meeting: Meeting) -> None:
    meeting.configure(meeting.head, meeting.remote.replace(str(meeting.store), "../../store"))
    with pytest.raises(ParameterError, match="must be absolute") as caught:
        find_remotes(meeting.head)
    command = re.findall("`dvc (.*)`", one_line(caught))[0]
    dvc(meeting.head, *command.split(), "--local")  # where the test has it
    assert find_remotes(meeting.head).dvc == "store"


@pytest.mark.slow
def test_an_unpushed_commit_and_its_data_reach_another_machine(meeting: Meeting) -> None:
    (meeting.head / "words").write_text("not pushed")
    commit(meeting.head, "words")
    head = meeting.commit()
    other = meeting.machine("other")
    with pytest.raises(SyncError, match=rf"not our ref.*`git push origin {head}:refs/study/{head}`"):
        sync.fetch_commit(other, head)
    sync.push_inputs(meeting.head, head)
    assert git(meeting.bare, "for-each-ref", "--format=%(refname)", "refs/heads").split() == ["refs/heads/main"]
    sync.fetch_commit(other, head)
    assert git(meeting.bare, "rev-parse", "main").strip() != head
    with experiments.isolated_worktree(other, {}, "mine", head) as checkout:
        sync.fetch_inputs(checkout)
        assert "didn't change, skipping" in dvc(checkout, "repro", "download")
    assert git(meeting.head, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("commit", ["main", "291fc25"])
def test_a_commit_must_be_named_by_its_digest(tmp_path: Path, commit: str) -> None:
    with pytest.raises(ParameterError, match=f"40 hexadecimal digits; received {commit}; try: git rev-parse {commit}"):
        sync.fetch_commit(tmp_path, commit)


@pytest.mark.slow
def test_data_that_the_head_lost_is_reported_before_the_training(meeting: Meeting) -> None:
    shutil.rmtree(meeting.head / ".dvc/cache")
    with pytest.raises(SyncError, match=r"it lacks data/raw.*which the cache does not have either"):
        sync.push_inputs(meeting.head, meeting.commit())


def test_a_folder_that_is_not_mounted_is_never_created(meeting: Meeting) -> None:
    meeting.store.rmdir()
    with pytest.raises(SyncError, match=r"must be there; received .*mount it, or, for a new one, `mkdir -p"):
        sync.push_inputs(meeting.head, meeting.commit())
    with experiments.isolated_worktree(meeting.head, {}, "mine") as checkout:
        for step in (sync.fetch_inputs, lambda checkout: sync.publish(checkout, "mine")):
            with pytest.raises(SyncError, match="must be there"):
                step(checkout)
    assert not meeting.store.exists()
    meeting.store.mkdir()  # the bare mount point
    git(meeting.head, "push", "--quiet", "origin", keep(meeting.head, "earlier"))
    with pytest.raises(SyncError, match="and hold what was pushed to it"):
        sync.push_inputs(meeting.head, meeting.commit())


@pytest.mark.slow
def test_a_remote_without_the_inputs_is_refused_before_the_training(meeting: Meeting) -> None:
    sync.push_inputs(meeting.head, meeting.commit())
    wrong = meeting.place / "wrong"
    (wrong / "files").mkdir(parents=True)
    meeting.configure(meeting.head, meeting.remote.replace(str(meeting.store), str(wrong)))
    with (
        experiments.isolated_worktree(meeting.head, {}, "mine") as checkout,
        pytest.raises(SyncError, match=r"must have data/raw before a run; it lacks data/raw") as caught,
    ):
        sync.fetch_inputs(checkout)
    assert "`dvc push data/raw`" in one_line(caught)
    assert list(wrong.rglob("*")) == [wrong / "files"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no answer", "endpoint"),
        ("no bucket", "bucket does not exist"),
        ("no rights", "Forbidden|denied|does not exist in our records"),
    ],
)
def test_a_bucket_that_fails_is_one_line_in_half_a_minute(meeting: Meeting, fault: str, reason: str) -> None:
    server = nullcontext(free_port()) if fault == "no answer" else machines.bucket(allows=fault != "no rights")
    with server as port:
        meeting.use_bucket(port, SECRET, bucket="none" if fault == "no bucket" else "bucket")
        started = time.monotonic()
        with pytest.raises(RuntimeError) as caught:
            sync.push_inputs(meeting.head, meeting.commit())
    assert time.monotonic() - started < 60  # under the load of other tests; alone, within half a minute
    assert not git(meeting.bare, "for-each-ref", "refs/study")
    message = one_line(caught)
    assert re.search(rf"the DVC remote store must answer; received: .*({reason})", message)
    assert SECRET not in message


def test_a_git_remote_that_is_away_is_one_line_without_its_password(meeting: Meeting) -> None:
    address = f"http://anna:{SECRET}@127.0.0.1:{free_port()}/repository.git?token={SECRET}"
    git(meeting.head, "remote", "set-url", "origin", address)
    with pytest.raises(RuntimeError, match=r"`git ls-remote origin refs/exps/\*/\*/\*` must succeed") as caught:
        sync.push_inputs(meeting.head, meeting.commit())
    assert SECRET not in one_line(caught)


def own(meeting: Meeting, slot: str, path: str) -> None:
    """Have a slot name something of the head's own that git ignores."""
    substitute(meeting.head / "dvc.yaml", f"{slot}: curve.csv", f"{slot}: {path}")
    (meeting.head / ".gitignore").open("a").write(f"/{path}\n")
    (meeting.head / path).write_text("the head's own")
    commit(meeting.head, f"own {slot}")


@pytest.mark.slow
def test_a_backbone_is_pushed_only_when_dvc_tracks_it(meeting: Meeting) -> None:
    own(meeting, "backbone", "own.keras")
    with pytest.raises(ParameterError, match=r"received own\.keras; `dvc add own\.keras`, `dvc repro train`"):
        sync.push_inputs(meeting.head, meeting.commit())
    dvc(meeting.head, "add", "own.keras")
    dvc(meeting.head, "repro", "--quiet")
    commit(meeting.head, "tracked")
    head = meeting.commit()
    sync.push_inputs(meeting.head, head)
    other = meeting.machine("other")
    (other / "own.keras").write_text("another of this name")
    sync.fetch_commit(other, head)
    with experiments.isolated_worktree(other, {}, "mine", head) as checkout:
        assert (checkout / "own.keras").read_text() == "another of this name"
        sync.fetch_inputs(checkout)
        assert (checkout / "own.keras").read_text() == "the head's own"
    assert (other / "own.keras").read_text() == "another of this name"


def test_own_images_that_dvc_never_read_are_refused(meeting: Meeting) -> None:
    own(meeting, "images", "own")
    (meeting.head / "dvc.lock").unlink()
    commit(meeting.head, "never read")
    with pytest.raises(ParameterError, match="received own; `dvc repro download`, and commit"):
        sync.push_inputs(meeting.head, meeting.commit())


def test_only_experiments_of_the_git_remote_are_published(meeting: Meeting) -> None:
    other = meeting.machine("other")
    ref = keep(other, "none-seed0-01234567")
    named = keep(other, "by-hand")
    git(other, "push", "--quiet", "origin", ref, named)
    keep(meeting.head, "l2-seed0-01234567")
    git(meeting.head, "update-ref", ref, "HEAD")  # what a kill before publishing left
    git(meeting.head, "update-ref", named, "HEAD")
    found = sync.fetch_experiments(meeting.head)
    assert found.keys() == {"none-seed0-01234567", "by-hand"}
    here = trial.finished(meeting.head)
    assert here["none-seed0-01234567"] == found["none-seed0-01234567"]
    assert here["by-hand"] == git(meeting.head, "rev-parse", "HEAD").strip()  # a person's own is never replaced
    assert sync.is_published(meeting.head, "by-hand")
    assert not sync.is_published(meeting.head, "l2-seed0-01234567")


@pytest.mark.slow
def test_one_of_two_publishers_wins_and_both_get_its_experiment(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushing_nothing(meeting, monkeypatch)
    both = [meeting.head, meeting.machine("other")]
    for number in range(2):
        name = f"none-seed{number}-01234567"
        for root in both:
            keep(root, name, message=f"made in {root.name}")
        with ThreadPoolExecutor() as racers:
            assert all(racers.map(sync.publish, both, [name, name]))
        assert {trial.finished(root)[name] for root in both} == {meeting.references()[name]}


def pushing_nothing(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "push_objects", lambda *_: None)
    (meeting.store / "files").mkdir()


def test_a_lock_that_a_killed_push_left_is_reported(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    pushing_nothing(meeting, monkeypatch)
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0)
    ref = keep(meeting.head, "mine")
    left = meeting.bare / f"{ref}.lock"
    left.parent.mkdir(parents=True)
    left.touch()
    with pytest.raises(SyncError, match=rf"remove {ref}\.lock if no push"):
        sync.publish(meeting.head, "mine")
    left.unlink()
    assert sync.publish(meeting.head, "mine")
    assert sync.publish(meeting.head, "mine")  # it is the one that is there


def test_a_name_that_another_commit_has_is_not_published(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    pushing_nothing(meeting, monkeypatch)
    keep(meeting.head, "nightly")
    assert sync.publish(meeting.head, "nightly")
    git(meeting.head, "commit", "--quiet", "--allow-empty", "--message", "another")
    keep(meeting.head, "nightly")
    assert not sync.publish(meeting.head, "nightly")


@contextmanager
def saved(meeting: Meeting) -> Iterator[Path]:
    """Run the toy pipeline in a worktree, and save it as experiment `mine`."""
    sync.push_inputs(meeting.head, meeting.commit())
    with experiments.isolated_worktree(meeting.head, {"train.seed": 3}, "mine") as checkout:
        dvc(checkout, "repro", "--quiet")
        experiments.save(checkout, "mine")
        yield checkout


@pytest.mark.slow
def test_an_experiment_whose_objects_are_in_no_cache_is_not_published(meeting: Meeting) -> None:
    model = hashlib.md5(b"weights\n").hexdigest()
    with saved(meeting) as checkout:
        (meeting.head / ".dvc/cache/files/md5" / model[:2] / model[2:]).unlink()
        (checkout / "model").unlink()
        with pytest.raises(SyncError, match="it lacks model, which the cache does not have either"):
            sync.publish(checkout, "mine")
    assert not meeting.references()


@pytest.mark.slow
def test_an_object_that_a_killed_push_left_empty_is_pushed_again(meeting: Meeting) -> None:
    with saved(meeting) as checkout:
        assert sync.publish(checkout, "mine")
        ref = git(meeting.bare, "for-each-ref", "--format=%(refname)", "refs/exps").strip()
        git(meeting.bare, "update-ref", "-d", ref)
        (model,) = (path for path in meeting.store.rglob("*") if path.is_file() and path.read_bytes() == b"weights\n")
        model.chmod(0o600)
        model.write_bytes(b"")
        assert sync.publish(checkout, "mine")
    meeting.assert_each_is_complete()


MAKE = """

import os, sys
from pathlib import Path
from flows.cluster import sync
from flows.cluster.trial import REMOTE
from flows.runs.trial import run_trial
from flows.study.plan import plan
from tests.support.machines import EVERYTHING

root, step = Path.cwd(), sys.argv[1]
if step != "none":
    setattr(sync, step, lambda *arguments: os._exit(9))
(trial,) = plan(root, ["none"], 1, {})
print("made", run_trial(root, trial, print, EVERYTHING, REMOTE))
"""


def start(root: Path, killed_at: str = "none") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, killed_at], cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def make(root: Path, killed_at: str = "none", status: int = 0) -> str:
    with start(root, killed_at) as maker:
        output, _ = maker.communicate()
    assert maker.returncode == status, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("step", ["push_objects", "push_reference"])
def test_a_kill_before_either_push_is_completed_by_the_next_attempt(meeting: Meeting, step: str) -> None:
    sync.push_inputs(meeting.head, meeting.plan().commit)
    other = meeting.machine("other")
    make(other, killed_at=step, status=9)
    assert trial.finished(other)  # looks finished to its own clone
    assert not meeting.references()
    output = make(other)
    assert "made True" in output
    assert "Running stage 'train'" not in output  # restored from the clone's own cache
    assert meeting.references().keys() == {meeting.plan().name}
    meeting.assert_each_is_complete()


@pytest.mark.slow
def test_a_kill_in_the_middle_of_dvc_push_leaves_no_experiment_without_its_model(meeting: Meeting) -> None:
    sync.push_inputs(meeting.head, meeting.plan().commit)
    before = set(meeting.store.rglob("*"))
    other = meeting.machine("other")
    with start(other) as maker:
        while maker.poll() is None and set(meeting.store.rglob("*")) == before:
            time.sleep(0.002)
        with suppress(ProcessLookupError):  # it had ended
            os.killpg(maker.pid, signal.SIGKILL)
    meeting.assert_each_is_complete()
    make(other)
    assert meeting.references()
    meeting.assert_each_is_complete()
