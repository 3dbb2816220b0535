"""`python -m flows.doctor`: everything that this folder keeps, checked by content, and repaired where nothing is lost.

Time stamps are not believed: DVC's bookkeeping, its cache, every output of dvc.lock and every checkpoint is read and
hashed. What is damaged is moved into `.doctor/` and never deleted; what the cache or git has is restored. Status 0:
all is well, or is now; 1: something is left, and its line ends in the next command; 75: something is running here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.repo import commands
from flows.repo.git import at, commit_of, repository, resolution, unresolved
from flows.repo.graph import declared_outputs
from flows.runs import experiments
from flows.server import database
from tasks.params import PARAMS_FILE, ParameterError, parse
from tasks.params.document import load_params
from tasks.training import checkpoints

ASIDE = Path(".doctor")
GRAPH, LOCK = Path("dvc.yaml"), Path("dvc.lock")
BUSY = 75  # the shell's EX_TEMPFAIL
STALE_SECONDS = 5.0
WORK = re.compile(r"-m (tasks\.|flows\.(pipeline|study|accept)|prefect\.(engine|flow_engine|runner))|\bdvc(\s|$)")
GIT = re.compile(r"\bgit(\s|$)")
DIGESTS = ("md5", "etag", "checksum")  # of a dependency, which may lie in a bucket
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Finding:
    """What was wrong with a file, and what was done about it or is to be done."""

    path: str
    fault: str
    remedy: str
    is_open: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}"


class Doctor:
    """One visit to a checkout of this repository."""

    def __init__(self, root: Path):
        self.root = root
        self.git = repository(root)
        self.head = commit_of(root, "HEAD")  # none before the first commit
        self.aside = root / ASIDE / time.strftime("%Y-%m-%dT%H-%M-%S")
        self.lost: set[str] = set()  # of the cache
        self.cache = Path(commands.run(root, sys.executable, "-m", "dvc", "cache", "dir").strip()) / "files/md5"

    def visit(self) -> Iterator[Finding]:
        """Check everything, and repair it in an order in which each repair can build on those before it."""
        if files := unresolved(self.root):  # whoever resolves them needs both sides
            yield Finding(", ".join(files), "hold both sides of a merge", resolution(files), is_open=True)
            return
        edited = list(self._edited())
        yield from edited
        if str(GRAPH) in {finding.path for finding in edited}:  # it says what there is to check
            return
        yield from self._locks()
        yield from self._lock_file()
        yield from self._objects()
        yield from self._outputs()
        yield from self._run_cache()
        yield from self._checkpoints()
        yield from self._database()
        yield from self._leftovers()

    def _edited(self) -> Iterator[Finding]:
        """What people edit, which is theirs to mend."""
        readers: dict[Path, Callable[[Path], Any]] = {PARAMS_FILE: load_params, GRAPH: parse}
        for name, reader in readers.items():
            try:
                reader(self.root / name)
            except ParameterError as error:
                fault = str(error).removeprefix(str(self.root / name)).lstrip(":, ")
                yield Finding(str(name), fault, f"edit it, or `git checkout {name}`", is_open=True)

    def _locks(self) -> Iterator[Finding]:
        """DVC's list of who reads and writes what. Nobody does: `running` was asked before."""
        path = self.root / ".dvc/tmp/rwlock"
        if path.exists():
            with suppress(ValueError):
                if json.loads(path.read_bytes()) in ({}, {"read": {}}, {"write": {}}, {"read": {}, "write": {}}):
                    return
            yield Finding(".dvc/tmp/rwlock", "left behind by a command that was killed", self._set_aside(path))

    def _lock_file(self) -> Iterator[Finding]:
        path = self.root / LOCK
        if not path.exists():
            return
        content, committed = path.read_bytes(), self._in_git(LOCK)
        was_cut = committed is not None and content != committed and committed.startswith(content)  # between two stages
        if was_cut or _entries(content) is None:
            remedy = self._set_aside(path)
            if committed is not None and _entries(committed) is not None:
                path.write_bytes(committed)
                remedy += ", and the committed one restored"
            remedy += "; `dvc repro` brings back what was newer from DVC's cache"
            yield Finding(str(LOCK), "is not what DVC wrote", remedy)

    def _objects(self) -> Iterator[Finding]:
        """DVC's cache. What is lost there and lies in the workspace is put back by `_outputs`."""
        for path in sorted(self.cache.glob("[0-9a-f][0-9a-f]/*")):
            digest = path.parent.name + path.name
            if MD5.fullmatch(digest) and _md5(path) != digest.removesuffix(".dir"):
                self.lost.add(digest)
                yield Finding(f"cache object {digest}", "does not have the content of its name", self._set_aside(path))

    def _outputs(self) -> Iterator[Finding]:
        """Every file of every output, against its digest in dvc.lock."""
        if not (self.root / LOCK).exists():
            return
        cached = declared_outputs(self.root, "outs")  # reports that git keeps are in DVC's cache by chance
        for output, digest in _entries((self.root / LOCK).read_bytes()) or []:
            if digest.endswith(".dir") and not self._object(digest).exists():
                listed = _list_of_files(self.root / output)
                if hashlib.md5(listed, usedforsecurity=False).hexdigest() != digest.removesuffix(".dir"):
                    remedy = "`dvc pull` fetches it, or `dvc repro` makes it"
                    yield Finding(output, "its list of files is not in the cache", remedy, is_open=True)
                    continue
                _publish(listed, self._object(digest), 0o444)
                yield Finding(f"cache object {digest}", "is missing", f"made again from {output}")
            expected = self._files(output, digest)
            present = [path for path in [*(self.root / output).rglob("*"), self.root / output] if path.is_file()]
            for path in sorted({*expected, *present}):
                right, actual = expected.get(path), _md5(path) if path.is_file() else None
                if actual != right:
                    yield self._restore(path, actual, right)
                elif right and (right in self.lost or output in cached) and not self._object(right).exists():
                    _publish(path.read_bytes(), self._object(right), 0o444)  # as DVC protects its objects
                    yield Finding(f"cache object {right}", "is missing", f"put back from {output}")

    def _files(self, output: str, digest: str) -> dict[Path, str]:
        """The digest of each file of an output."""
        if not digest.endswith(".dir"):
            return {self.root / output: digest}
        entries = json.loads(self._object(digest).read_text(encoding="utf-8"))
        return {self.root / output / entry["relpath"]: entry["md5"] for entry in entries}

    def _restore(self, path: Path, actual: str | None, right: str | None) -> Finding:
        """Bring back a file of an output, or say how to. DVC's checkout goes by time stamps, and leaves reports out."""
        name = path.relative_to(self.root)
        moved = "" if actual is None else f"{self._set_aside(path)} and "
        if right is None:
            return Finding(str(name), "belongs to no output", moved.removesuffix(" and "))
        fault = "is missing" if actual is None else "is not what dvc.lock says"
        if self._object(right).exists():
            _publish(self._object(right).read_bytes(), path, 0o644)
            return Finding(str(name), fault, f"{moved}restored from the cache")
        committed = self._in_git(name)
        if committed is not None and hashlib.md5(committed, usedforsecurity=False).hexdigest() == right:
            _publish(committed, path, 0o644)
            return Finding(str(name), fault, f"{moved}restored from git")
        return Finding(str(name), fault, f"{moved}`dvc repro` makes it again", is_open=True)

    def _run_cache(self) -> Iterator[Finding]:
        for path in sorted((self.cache.parents[1] / "runs").glob("*/*/*")):
            if path.is_file() and not isinstance(_yaml(path.read_bytes()), dict):
                yield Finding(f"run {path.name[:8]} in DVC's cache", "is not what DVC wrote", self._set_aside(path))

    def _checkpoints(self) -> Iterator[Finding]:
        for folder in sorted((self.root / ".checkpoints").glob("*/epoch-*")):
            try:
                checkpoints.read_checkpoint(folder)
            except (OSError, ValueError):
                name = str(folder.relative_to(self.root))
                yield Finding(name, "is damaged; training goes on from the one before it", self._set_aside(folder))

    def _database(self) -> Iterator[Finding]:
        """Prefect's database, with what SQLite keeps beside it."""
        path = self.root / database.DATABASE
        if fault := database.fault(path):
            remedy = f"end {holder}, then `make doctor`" if (holder := database.holder(path)) else ""
            for file in [] if holder else [*path.parent.glob(f"{path.name}-*"), path]:
                remedy = f"{self._set_aside(file)}; the next flow, or `make server`, makes a new one"
            yield Finding(str(database.DATABASE), fault, remedy, is_open=bool(holder))

    def _leftovers(self) -> Iterator[Finding]:
        """What killed steps, runs and git commands were about to write."""
        half_written = [(self.root, "*/.part-*"), (self.root, ".checkpoints/*/.part-*")]
        for folder, pattern in [*half_written, (self.git.own, "*.lock"), (self.git.common, "refs/**/*.lock")]:
            for path in sorted(folder.glob(pattern)):
                if time.time() - path.stat().st_mtime < STALE_SECONDS:
                    continue  # of a command of this moment
                name = str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)
                yield Finding(name, "was left half-written", self._set_aside(path))
        worktrees = self.root / experiments.WORKTREES
        before = {path.name for path in worktrees.glob("[!.]*")}
        if before:
            experiments.remove_stale_worktrees(self.root)
        for name in sorted(before - {path.name for path in worktrees.glob("[!.]*")}):
            yield Finding(str(experiments.WORKTREES / name), "was left by a run that was killed", "removed")

    def _set_aside(self, path: Path) -> str:
        """Move a file out of the way; say where it is."""
        place = path.relative_to(self.root) if path.is_relative_to(self.root) else Path(*path.parts[-2:])
        target = self.aside / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        return f"moved to {target.relative_to(self.root)}"

    def _object(self, digest: str) -> Path:
        return self.cache / digest[:2] / digest[2:]

    def _in_git(self, name: Path) -> bytes | None:
        return at(self.root, self.head, name) if self.head else None


def running(root: Path) -> list[str]:
    """The commands of DVC, steps and flows in a checkout or in one of its worktrees, and of git in its repository."""
    found, top = [], repository(root).top
    callers = {caller.pid for caller in psutil.Process().parents()}  # such as a shell whose line has a `git pull` too
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        folder = Path(process.info["cwd"] or "/")
        at_work = any(folder.is_relative_to(of) and kind.search(command) for of, kind in ((root, WORK), (top, GIT)))
        if at_work and process.pid not in callers:
            found.append(f"{command} (process {process.info['pid']})")
    return found


def _list_of_files(folder: Path) -> bytes:
    """A folder as DVC's cache lists it, in the object whose digest ends in `.dir`."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return json.dumps([{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]).encode()


def _publish(content: bytes, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".part-{target.name}")
    partial.write_bytes(content)
    partial.chmod(mode)
    partial.replace(target)


def _entries(lock: bytes) -> list[tuple[str, str]] | None:
    """The outputs of a dvc.lock with their digests; None for a file that DVC cannot have written."""
    content = _yaml(lock)
    try:
        stages = content["stages"].values()
        outs = [out for stage in stages for out in stage.get("outs", [])]
        if not all(MD5.fullmatch(out["md5"]) and isinstance(out["size"], int) for out in outs):
            return None
        dependencies = [dependency for stage in stages for dependency in stage.get("deps", [])]
        if not all(any(dependency.get(key) for key in DIGESTS) for dependency in dependencies):
            return None
        return [(out["path"], out["md5"]) for out in outs]
    except (LookupError, TypeError, AttributeError):
        return None


def _yaml(content: bytes) -> Any:
    try:
        return YAML(typ="safe").load(content)
    except (YAMLError, ValueError):
        return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Visit the folder, and say what was found."""
    argparse.ArgumentParser(
        prog="python -m flows.doctor",
        description="Check everything that this folder keeps, by content, and repair what can be.",
    ).parse_args(arguments)
    root, findings = Path.cwd(), []
    try:
        if busy := running(root):
            wait = f"nothing may run here meanwhile; received {busy[0]}; wait for its end"
            print(f"error: doctor: {wait}", file=sys.stderr)
            return BUSY
        for finding in Doctor(root).visit():
            print(finding, flush=True)
            findings.append(finding)
    except (RuntimeError, OSError) as error:
        print(f"error: doctor: {error}", file=sys.stderr)
        return 1
    n_open = sum(finding.is_open for finding in findings)
    print(f"{len(findings)} found, {n_open} left to do" if findings else "nothing found: every digest is right")
    return 1 if n_open else 0


if __name__ == "__main__":
    sys.exit(main())
