"""Releases in two clones, a bare git remote and a DVC remote: checks, versions, tags, and what others get."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.release.registry import open_registry
from flows.repo.git import GitError
from tests.support.clone import IDENTITY, Clone, add_remotes, forget_remotes, push_all

pytestmark = pytest.mark.slow
COMMAND = ("python", "-m", "flows.release")


@pytest.fixture
def place(clone: Clone, tmp_path: Path) -> Iterator[Clone]:
    """A trained clone whose remotes have everything."""
    clone.reset()
    add_remotes(clone, tmp_path)
    yield clone
    forget_remotes(clone)


def refused(clone: Clone, *arguments: str, status: int = 1) -> str:
    """Release in vain: one line, and no tag anywhere."""
    before = clone.run("git", "ls-remote", "--tags", "origin")
    (line,) = clone.run(*COMMAND, *arguments, status=status).splitlines()[-1:]
    assert line.startswith("error: ")
    assert clone.run("git", "ls-remote", "--tags", "origin") == before
    return line


def test_a_release_is_listed_and_got_by_machines_that_have_only_the_url(place: Clone, tmp_path: Path) -> None:
    said = place.run(*COMMAND, "--stage", "prod")
    assert "v1.0.0: the first release, compared with none" in said
    assert place.run("git", "tag", "--list").split() >= ["classifier#prod#1", "classifier@v1.0.0"]

    other = Clone(tmp_path / "other")
    place.run("git", "clone", "--quiet", str(tmp_path / "bare.git"), str(other.path))
    listed = other.run(*COMMAND, "--list")
    assert re.search(r"^\| v1\.0\.0 +\| prod +\| \w{7} +\| accuracy +\| 0\.\d{4} +\|$", listed, re.MULTILINE)

    (getting,) = re.findall("anybody with DVC gets it: (.+)", said)
    by_name = f"dvc artifacts get {tmp_path / 'bare.git'} classifier --rev v1.0.0"
    empty = Clone(tmp_path / "empty")
    empty.path.mkdir()
    for command, file in ((getting, "exports/classifier.onnx"), (by_name, "classifier.keras")):
        started = time.monotonic()
        empty.run(*shlex.split(command))
        assert time.monotonic() - started < 10
        assert (empty.path / file).read_bytes() == (place.path / "models" / file).read_bytes()

    assert "already in stage" in refused(place, "--stage", "prod", status=2)
    assert "released as classifier@v1.0.0, in stage test" in place.run(*COMMAND, "--stage", "test")


def test_a_release_is_refused_that_others_could_not_get_or_repeat(place: Clone, tmp_path: Path) -> None:
    for name in ("", "a b"):
        assert "--stage must be a name of letters" in refused(place, "--stage", name, status=2)
    assert "--base must be a commit of this repository; received nowhere" in refused(place, "--base", "nowhere")
    (place.path / "notes.txt").write_text("x")
    assert "must be a commit; received edits of notes.txt; `git add`" in refused(place)
    place.commit("Add notes")
    assert re.search(r"origin must have the commit; received \w{7}; `git push`", refused(place))

    place.edit(evaluate__batch_size=1999)
    place.commit("Change a parameter")
    place.run("git", "push", "--quiet", "origin", "HEAD:main")
    assert "no stage may be stale; evaluate would run: parameters: " in refused(place)

    place.edit(evaluate__batch_size=2000)
    place.commit("Change it back")
    place.run("git", "push", "--quiet", "origin", "HEAD:main")
    objects = place.path.parent / "moved"
    (tmp_path / "store/files/md5").rename(objects)
    (tmp_path / "store/files/md5").mkdir()
    assert "DVC remote store must have every object; it lacks " in refused(place)
    shutil.rmtree(tmp_path / "store/files/md5")
    objects.rename(tmp_path / "store/files/md5")

    hook = tmp_path / "bare.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'no rights here' >&2\nexit 1\n")
    hook.chmod(0o755)
    assert "pre-receive hook declined" in refused(place)
    hook.unlink()

    place.run("git", *IDENTITY, "tag", "--annotate", "--message", "mine", "classifier@v1.0.0")
    assert "this clone has classifier@v1.0.0; `git tag --delete 'classifier@v1.0.0'`" in refused(place, status=2)
    place.run("git", "tag", "--delete", "classifier@v1.0.0")
    assert "\nclassifier" not in place.run("git", "tag", "--list")

    place.run("dvc", "remote", "modify", "--local", "store", "url", str(tmp_path / "store"))
    place.run("dvc", "remote", "remove", "store")
    place.run("dvc", "remote", "add", "--local", "--default", "private", str(tmp_path / "store"))
    place.commit("Keep the remote to oneself")
    push_all(place)
    assert "nobody finds the model; `dvc remote add --default private URL`" in refused(place)


def test_of_two_releases_at_once_one_is_refused(place: Clone) -> None:
    """The second has looked at the tags before the first pushed its own."""
    commit = place.run("git", "rev-parse", "HEAD").strip()
    with open_registry(place.path) as registry:
        assert registry.versions == []
        place.run(*COMMAND)
        place.run("git", "tag", "--delete", "classifier@v1.0.0")  # as in another clone
        with pytest.raises(GitError, match=r"classifier@v1\.0\.0"):
            registry.publish(commit, "v1.0.0", "prod", "the second")
    assert "#prod" not in place.run("git", "ls-remote", "--tags", "origin")


def test_a_kill_before_the_push_releases_nothing_and_leaves_nothing(place: Clone) -> None:
    with subprocess.Popen(COMMAND, cwd=place.path, env=place.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("v1.0.0: ")
        process.kill()
    assert place.run("git", "ls-remote", "--tags", "origin") == ""
    assert "classifier" not in place.run("git", "tag", "--list")
    assert "released as classifier@v1.0.0" in place.run(*COMMAND)
