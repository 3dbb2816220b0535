"""Find damaged files of DVC, set them aside, and restore them.

DVC itself goes by time stamps: it takes a flipped byte for sound, and restores a damaged object. What is damaged on
one side is restored from the other, or from git; no side is believed unread.
"""

import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.repo import commands, dvc_internals
from flows.repo.code import md5
from flows.repo.git import commit_of, read_blob
from flows.repo.graph import declared_outputs
from tasks.run.outputs import atomic_outputs

FOLDER = Path(".doctor")
STARTED = time.strftime("%Y-%m-%dT%H-%M-%S")
LOCK = Path("dvc.lock")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Finding(NamedTuple):
    """A fault of a file, and its repair."""

    path: Path | str
    fault: str
    remedy: str
    is_open: bool = False  # something is left to do

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}"


def set_aside(root: Path, path: Path) -> str:
    """Move a damaged file or folder into `.doctor/`, and say so."""
    place = path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[-2:])
    target = root / FOLDER / STARTED / place
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    return f"moved to {target.relative_to(root)}"


class Cache:
    """The cache of a project, with what each output must be."""

    def __init__(self, root: Path):
        self.root = root
        self.head = commit_of(root, "HEAD")  # none before the first commit
        self.folder = Path(commands.run(root, sys.executable, "-m", "dvc", "cache", "dir").strip()) / "files/md5"
        self.cached = declared_outputs(root, "outs")  # reports that git keeps are in DVC's cache by chance
        self.lost: set[str] = set()  # objects that were damaged

    def check(self) -> Iterator[Finding]:
        """Check dvc.lock, then all objects, then the outputs, which restore objects."""
        if (self.root / LOCK).exists():
            yield from self._lock_file()
        yield from self._objects()
        if (self.root / LOCK).exists():
            for output, digest in (recorded_outputs((self.root / LOCK).read_bytes()) or {}).items():
                yield from self._output(self.root / output, digest)

    def _lock_file(self) -> Iterator[Finding]:
        path = self.root / LOCK
        content, committed = path.read_bytes(), self._committed(path)
        was_cut = committed is not None and content != committed and committed.startswith(content)  # between two stages
        if was_cut or recorded_outputs(content) is None:
            remedy = set_aside(self.root, path)
            if committed is not None and recorded_outputs(committed) is not None:
                path.write_bytes(committed)
                remedy += ", and the committed one restored"
            remedy += "; `dvc repro` brings back what was newer from DVC's cache"
            yield Finding(LOCK, "is not what DVC wrote", remedy)

    def _objects(self) -> Iterator[Finding]:
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            digest = path.parent.name + path.name
            if MD5.fullmatch(digest) and _hash(path) != digest.removesuffix(".dir"):
                self.lost.add(digest)
                remedy = set_aside(self.root, path)
                yield Finding(f"cache object {digest}", "does not have the content of its name", remedy)

    def _output(self, output: Path, digest: str) -> Iterator[Finding]:
        name = str(output.relative_to(self.root))
        present = {path: _hash(path) for path in [*output.rglob("*"), output] if path.is_file()}
        expected = {output: digest}
        if digest.endswith(".dir"):
            if not self._object(digest).exists():
                listed = {path.relative_to(output).as_posix(): present[path] for path in present}
                content = dvc_internals.list_of_files(listed)
                if md5(content) != digest.removesuffix(".dir"):
                    remedy = "`dvc pull` fetches it, or `dvc repro` makes it"
                    yield Finding(name, "its list of files is not in the cache", remedy, is_open=True)
                    return
                _publish(content, self._object(digest), 0o444)
                yield Finding(f"cache object {digest}", "is missing", f"made again from {name}")
            entries = json.loads(self._object(digest).read_bytes())
            expected = {output / entry["relpath"]: entry["md5"] for entry in entries}
        for path in sorted({*expected, *present}):
            right = expected.get(path)
            if present.get(path) != right:
                yield self._restore(path, right)
            elif right and (right in self.lost or name in self.cached) and not self._object(right).exists():
                _publish(path.read_bytes(), self._object(right), 0o444)  # as DVC protects its objects
                yield Finding(f"cache object {right}", "is missing", f"put back from {name}")

    def _restore(self, path: Path, right: str | None) -> Finding:
        # `dvc checkout` would go by time stamps, and leave reports out
        name, fault, moved = path.relative_to(self.root), "is missing", ""
        if path.is_file():
            fault, moved = "is not what dvc.lock says", set_aside(self.root, path)
        if right is None:
            return Finding(name, "belongs to no output", moved)
        moved += " and " if moved else ""
        committed = self._committed(path)
        if self._object(right).exists():
            content, source = self._object(right).read_bytes(), "the cache"
        elif committed is not None and md5(committed) == right:
            content, source = committed, "git"
        else:
            return Finding(name, fault, f"{moved}`dvc repro` makes it again", is_open=True)
        _publish(content, path, 0o644)
        return Finding(name, fault, f"{moved}restored from {source}")

    def _object(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest[2:]

    def _committed(self, path: Path) -> bytes | None:
        return read_blob(self.root, self.head, path.relative_to(self.root)) if self.head else None


def recorded_outputs(lock: bytes) -> dict[str, str] | None:
    """Return the digest of each output; None for a damaged dvc.lock."""
    if (content := dvc_internals.parse_lock(lock)) is None:
        return None
    outputs = [output for stage in content.get("stages", {}).values() for output in stage.get("outs", [])]
    # A remote that versions objects itself leaves lists of files instead, which have no object here.
    digests = {output["path"]: output.get("md5", "") for output in outputs if "files" not in output}
    return digests if all(map(MD5.fullmatch, digests.values())) else None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _publish(content: bytes, target: Path, mode: int) -> None:
    with atomic_outputs(target) as (partial,):
        partial.write_bytes(content)
        partial.chmod(mode)
