"""DVC's cache and the outputs of dvc.lock, compared with their digests.

DVC itself goes by time stamps: it takes a flipped byte for sound, and restores a damaged object. What is damaged on
one side is restored from the other, or from git; no side is believed unread.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.repo import commands, dvc_internals
from flows.repo.code import md5
from flows.repo.git import commit_of, read_blob
from flows.repo.graph import declared_outputs
from flows.repo.quarantine import Finding, Quarantine
from tasks.run.outputs import atomic_outputs

LOCK = Path("dvc.lock")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Cache:
    """The cache of a project, with what each output must be."""

    def __init__(self, root: Path, quarantine: Quarantine):
        self.root = root
        self.quarantine = quarantine
        self.head = commit_of(root, "HEAD")  # none before the first commit
        self.folder = Path(commands.run(root, sys.executable, "-m", "dvc", "cache", "dir").strip()) / "files/md5"
        self.cached = declared_outputs(root, "outs")  # reports that git keeps are in DVC's cache by chance
        self.lost: set[str] = set()  # objects that were damaged

    def check(self) -> Iterator[Finding]:
        """Check dvc.lock, then all objects, then the outputs, which restore objects."""
        yield from self._lock_file()
        yield from self._objects()
        yield from self._outputs()

    def _lock_file(self) -> Iterator[Finding]:
        path = self.root / LOCK
        if not path.exists():
            return
        content, committed = path.read_bytes(), self._committed(LOCK)
        was_cut = committed is not None and content != committed and committed.startswith(content)  # between two stages
        if was_cut or recorded_outputs(content) is None:
            remedy = self.quarantine.move(path)
            if committed is not None and recorded_outputs(committed) is not None:
                path.write_bytes(committed)
                remedy += ", and the committed one restored"
            remedy += "; `dvc repro` brings back what was newer from DVC's cache"
            yield Finding(str(LOCK), "is not what DVC wrote", remedy)

    def _objects(self) -> Iterator[Finding]:
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            digest = path.parent.name + path.name
            if MD5.fullmatch(digest) and compute_md5(path) != digest.removesuffix(".dir"):
                self.lost.add(digest)
                fault = "does not have the content of its name"
                yield Finding(f"cache object {digest}", fault, self.quarantine.move(path))

    def _outputs(self) -> Iterator[Finding]:
        if not (self.root / LOCK).exists():
            return
        for output, digest in (recorded_outputs((self.root / LOCK).read_bytes()) or {}).items():
            if digest.endswith(".dir") and not self._object(digest).exists():
                finding = self._restore_list(output, digest)
                yield finding
                if finding.is_open:
                    continue
            expected = self._expected_files(output, digest)
            present = [path for path in [*(self.root / output).rglob("*"), self.root / output] if path.is_file()]
            for path in sorted({*expected, *present}):
                right, actual = expected.get(path), compute_md5(path) if path.is_file() else None
                if actual != right:
                    yield self._restore(path, actual, right)
                elif right and (right in self.lost or output in self.cached) and not self._object(right).exists():
                    _publish(path.read_bytes(), self._object(right), 0o444)  # as DVC protects its objects
                    yield Finding(f"cache object {right}", "is missing", f"put back from {output}")

    def _restore_list(self, output: str, digest: str) -> Finding:
        """Restore the list of a folder's files, if the folder is sound."""
        folder = self.root / output
        files = [path for path in folder.rglob("*") if path.is_file()]
        listed = dvc_internals.list_of_files({path.relative_to(folder).as_posix(): compute_md5(path) for path in files})
        if md5(listed) != digest.removesuffix(".dir"):
            remedy = "`dvc pull` fetches it, or `dvc repro` makes it"
            return Finding(output, "its list of files is not in the cache", remedy, is_open=True)
        _publish(listed, self._object(digest), 0o444)
        return Finding(f"cache object {digest}", "is missing", f"made again from {output}")

    def _expected_files(self, output: str, digest: str) -> dict[Path, str]:
        """Return the digest of each file of an output."""
        if not digest.endswith(".dir"):
            return {self.root / output: digest}
        entries = json.loads(self._object(digest).read_text(encoding="utf-8"))
        return {self.root / output / entry["relpath"]: entry["md5"] for entry in entries}

    def _restore(self, path: Path, actual: str | None, right: str | None) -> Finding:
        """Restore a file of an output from the cache or git.

        `dvc checkout` would go by time stamps, and leave reports out.
        """
        name = path.relative_to(self.root)
        moved = "" if actual is None else f"{self.quarantine.move(path)} and "
        if right is None:
            return Finding(str(name), "belongs to no output", moved.removesuffix(" and "))
        fault = "is missing" if actual is None else "is not what dvc.lock says"
        if self._object(right).exists():
            _publish(self._object(right).read_bytes(), path, 0o644)
            return Finding(str(name), fault, f"{moved}restored from the cache")
        committed = self._committed(name)
        if committed is not None and md5(committed) == right:
            _publish(committed, path, 0o644)
            return Finding(str(name), fault, f"{moved}restored from git")
        return Finding(str(name), fault, f"{moved}`dvc repro` makes it again", is_open=True)

    def _object(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest[2:]

    def _committed(self, name: Path) -> bytes | None:
        return read_blob(self.root, self.head, name) if self.head else None


def recorded_outputs(lock: bytes) -> dict[str, str] | None:
    """Return the digest of each output; None for a damaged dvc.lock."""
    try:
        content = YAML(typ="safe").load(lock)
    except (YAMLError, ValueError):
        return None
    if not dvc_internals.is_lock(content):
        return None
    outputs = [output for stage in content.get("stages", {}).values() for output in stage.get("outs", [])]
    digests = {output["path"]: output.get("md5", "") for output in outputs}
    return digests if all(map(MD5.fullmatch, digests.values())) else None


def compute_md5(path: Path) -> str:
    """Hash a file as DVC does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _publish(content: bytes, target: Path, mode: int) -> None:
    with atomic_outputs(target) as (partial,):
        partial.write_bytes(content)
        partial.chmod(mode)
