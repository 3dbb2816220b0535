"""The code that made a result, and how today's code differs.

dvc.lock has digests alone. The files are found in git's history, amended and dropped commits included: the version of
the recorded size whose digest is right.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.repo import dvc_internals
from flows.repo.ast_diff import first_difference
from flows.repo.git import git, git_bytes

FOLDER = "tasks/"  # where the code that stages depend on lies

Files = Mapping[str, bytes]  # content by path from the project
Blobs = Mapping[str, tuple[str, int]]  # git's name and size, likewise


def edits(before: Files, now: Files) -> Iterator[tuple[str, str]]:
    """Yield each edited file with its first difference; "" for layout alone."""
    for path in sorted({*before, *now}):
        if path not in before:  # it counts even when it is empty: it may hide another module
            yield path, f"{path} is new"
        elif path not in now:
            yield path, f"{path} is gone"
        elif before[path] == now[path]:
            continue
        elif not path.endswith(".py"):  # any byte of a template counts
            yield path, f"{path} modified"
        else:
            difference = first_difference(before[path], now[path])
            yield path, f"{path}:{difference}" if difference else ""


def current_files(dependency: Any) -> Files:
    """Read what a dependency of DVC holds now."""
    path, top = dependency.def_path, Path(dependency.fs_path)
    if not top.is_dir():
        return {path: top.read_bytes()}
    files = {f"{path}/{file.relative_to(top).as_posix()}": file for file in top.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if dvc_internals.counts(dependency, name)}


def recorded_files(root: Path, dependency: Any, since: str | None = None) -> Files | None:
    """Find what a dependency held when the result was made.

    Where git has no such version, it is what the commit `since` has, or None.
    """
    path, meta = dependency.def_path, dependency.meta
    for commit in git(root, "rev-list", "--all", "--reflog", "--full-history", "--", path).split():
        blobs = _list_counted(root, commit, dependency)
        if len(blobs) == (meta.nfiles or 1) and sum(size for _, size in blobs.values()) == meta.size:
            files = read_blobs(root, blobs)
            if digest(path, files) == dependency.hash_info.value:
                return files
    return read_blobs(root, _list_counted(root, since, dependency)) if since else None


def _list_counted(root: Path, commit: str, dependency: Any) -> Blobs:
    blobs = list_blobs(root, commit, dependency.def_path)
    return {path: blob for path, blob in blobs.items() if dvc_internals.counts(dependency, path)}


def list_blobs(root: Path, commit: str, path: str) -> Blobs:
    """List the files of a commit in a folder."""
    lines = git(root, "ls-tree", "-r", "-l", "-z", commit, "--", path).split("\0")[:-1]
    entries = ((path, details.split()) for details, path in (line.split("\t", 1) for line in lines))
    return {path: (name, int(size)) for path, (_, kind, name, size) in entries if kind == "blob"}


def read_blobs(root: Path, blobs: Blobs) -> Files:
    """Read files by one git process."""
    names = "".join(f"{name}\n" for name, _ in blobs.values())
    content, start, files = git_bytes(root, "cat-file", "--batch", given=names.encode()), 0, {}
    for path, (_, size) in blobs.items():  # each between a line that describes it and a line end
        begin = content.index(b"\n", start) + 1
        files[path] = content[begin : begin + size]
        start = begin + size + 1
    return files


def digest(path: str, files: Files) -> str:
    """Return the digest that DVC gives a dependency with these files."""
    digests = {file.removeprefix(f"{path}/"): md5(content) for file, content in files.items()}
    return digests[path] if path in digests else md5(dvc_internals.list_of_files(digests)) + ".dir"


def md5(content: bytes) -> str:
    """Hash content as DVC does."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
