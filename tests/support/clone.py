"""A scratch clone of this repository, driven with the real DVC and git."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.parameters import edit

MAKE_VARIABLES = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "PYTHON"}  # make may run the tests
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")  # of the tests' own commits only
OUTPUTS = ("data", "models", "reports", ".dvc/cache/files")
# What git or `_seen` passes over, and `make doctor` would find.
LEFT_BY_KILLED = ("*/.part-*", ".git/*.lock", ".git/refs/**/*.lock", ".dvc/tmp/rwlock*")
UNWATCHED = {".git/objects", ".git/logs", ".prefect", ".venv"}  # a change there needs no reset


class Clone:
    """A scratch clone of this repository, working tree included."""

    def __init__(self, path: Path):
        self.path = path
        self.first_run = ""  # its output
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(path.parent / "user-cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._files: dict[str, tuple[int, ...]] = {}  # as they were after the last reset

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the clone, check its status and return its output."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == status, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def repro(self, *arguments: str) -> tuple[list[str], list[str], str]:
        """Run `dvc repro`; return the stages that ran, those restored from the run cache, and the output."""
        output = self.run("dvc", "repro", *arguments)
        ran = re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)
        restored = re.findall(r"^Stage '(\w+)' is cached - skipping run", output, re.MULTILINE)
        return ran, restored, output

    def edit(self, **changes: Any) -> None:
        edit(self.path / "params.yaml", **changes)

    def commit(self, message: str, *options: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", *IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message, *options)

    def reset(self) -> None:
        """Go back to the first run: files, experiments, checkpoints and the run cache."""
        left = [str(path) for pattern in LEFT_BY_KILLED for path in self.path.glob(pattern)]
        subprocess.run(["rm", "-rf", *left], check=True)
        files = self._seen()
        if files == self._files:
            return
        for folder in (".checkpoints", ".dvc/tmp/worktrees", ".dvc/cache/runs"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        self.run("bash", "-c", "git for-each-ref --format='delete %(refname)' refs/exps | git update-ref --stdin")
        (self.path / ".dvc/config.local").unlink(missing_ok=True)
        shutil.copytree(self.path.parent / "runs", self.path / ".dvc/cache/runs")
        self.run("git", "checkout", "--quiet", "--force", "-B", "main", "first-run")
        self.run("git", "clean", "--quiet", "--force", "-d")
        if any(files.get(path) != self._files.get(path) for path in files | self._files if path.startswith(OUTPUTS)):
            self.run("dvc", "checkout", "--quiet", "--force")
        self._files = self._seen()

    def keep(self) -> None:
        """Take the clone as it is now for its first run."""
        self.run("git", "tag", "first-run")
        shutil.copytree(self.path / ".dvc/cache/runs", self.path.parent / "runs")
        self._files = self._seen()

    def _seen(self) -> dict[str, tuple[int, ...]]:
        """Map each file to what changes with it; a test can set back its `mtime` but not its `ctime`."""
        signatures: dict[str, tuple[int, ...]] = {}
        for folder, subfolders, files in os.walk(self.path):
            inner = Path(folder).relative_to(self.path)
            if inner == Path(".dvc/tmp"):  # only the worktrees of runs matter there
                subfolders[:], files = [name for name in subfolders if name == "worktrees"], []
            subfolders[:] = [name for name in subfolders if str(inner / name) not in UNWATCHED]
            signatures |= {str(inner / name): () for name in subfolders}
            for name in files:
                stat = os.lstat(f"{folder}/{name}")
                signatures[str(inner / name)] = stat.st_ino, stat.st_size, stat.st_ctime_ns
        return signatures


def add_remotes(clone: Clone, folder: Path) -> Path:
    """Give a clone a git remote and a DVC remote that have everything; return the git remote."""
    bare, store = folder / "bare.git", folder / "store"
    clone.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    clone.run("git", "remote", "add", "origin", str(bare))
    (store / "files").mkdir(parents=True)
    clone.run("dvc", "remote", "add", "--default", "store", str(store))
    clone.commit("Name the DVC remote")
    push_all(clone)
    return bare


def push_all(clone: Clone) -> None:
    clone.run("dvc", "push", "--quiet")
    clone.run("git", "push", "--quiet", "origin", "HEAD:main")


def forget_remotes(clone: Clone) -> None:
    """Remove the git remote, and the tags of releases."""
    clone.run("git", "remote", "remove", "origin")
    for tag in clone.run("git", "tag", "--list", "classifier*").split():
        clone.run("git", "tag", "--delete", tag)


def assert_nothing_is_stale(clone: Clone) -> None:
    lock = (clone.path / "dvc.lock").read_bytes()
    assert clone.repro()[:2] == ([], [])
    assert (clone.path / "dvc.lock").read_bytes() == lock
    assert clone.run("dvc", "status") == "Data and pipelines are up to date.\n"


def tracked() -> list[str]:
    """List this repository's files, without those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def enter_copy(source: Path, target: Path, patch: pytest.MonkeyPatch) -> Path:
    """Copy a project that no test may write to, and work in the copy."""
    shutil.copytree(source, target, symlinks=True)
    patch.chdir(target)
    return target


def copy_tracked(target: Path) -> None:
    for name in tracked():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
