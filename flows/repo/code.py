"""The code that made a result, and how today's code differs.

dvc.lock has digests alone: of a file its own, of a folder that of DVC's list of its files. The files themselves are
found in git's history, amended and dropped commits included: the version of the recorded size whose digest is right.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import dvc_internals
from flows.repo.ast_diff import first_difference
from flows.repo.history import Listing, listing, past_listings, read_files

FOLDER = "tasks/"  # where the code that stages depend on lies

Files = Mapping[str, bytes]  # content by path from the project


class Edit(NamedTuple):
    """An edited file; `fault` is empty for comments and layout alone."""

    path: str
    fault: str


def is_code(path: str) -> bool:
    """Return whether a dependency of a stage is code."""
    return path.startswith(FOLDER)


def edits(before: Files, now: Files) -> Iterator[Edit]:
    """Yield each new, gone or changed file with its first difference.

    A new module counts even when it is empty: it may hide another one.
    """
    for path in sorted({*before, *now}):
        if path not in before:
            yield Edit(path, f"{path} is new")
        elif path not in now:
            yield Edit(path, f"{path} is gone")
        elif before[path] == now[path]:
            continue
        elif not path.endswith(".py"):  # any byte of a template counts
            yield Edit(path, f"{path} modified")
        else:
            difference = first_difference(before[path], now[path])
            yield Edit(path, f"{path}:{difference.line}: {difference.what}" if difference else "")


def current_files(dependency: Any) -> Files:
    """Read what a dependency of DVC holds now."""
    path, top = dependency.def_path, Path(dependency.fs_path)
    if not top.is_dir():
        return {path: top.read_bytes()}
    files = {f"{path}/{file.relative_to(top).as_posix()}": file for file in top.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if dvc_internals.counts(dependency, name)}


def committed_files(root: Path, commit: str, dependency: Any) -> Files:
    """Read what a dependency held in a commit."""
    return read_files(root, _counting(listing(root, commit, dependency.def_path), dependency))


def recorded_files(root: Path, dependency: Any) -> Files | None:
    """Find what a dependency held when the result was made.

    Parameters
    ----------
    dependency : dvc.dependency.Dependency
        With the digest, the size and the number of files of dvc.lock.

    Returns
    -------
    dict of str to bytes, or None
        None where git has no such version.
    """
    n_files, size = dependency.meta.nfiles or 1, dependency.meta.size
    for version in past_listings(root, dependency.def_path):
        files = _counting(version, dependency)
        if len(files) == n_files and sum(blob.size for blob in files.values()) == size:
            contents = read_files(root, files)
            if digest(dependency.def_path, contents) == dependency.hash_info.value:
                return contents
    return None


def digest(path: str, files: Files) -> str:
    """Return the digest that DVC gives a dependency with these files."""
    digests = {file.removeprefix(f"{path}/"): md5(content) for file, content in files.items()}
    return digests[path] if path in digests else md5(dvc_internals.list_of_files(digests)) + ".dir"


def md5(content: bytes) -> str:
    """Hash content as DVC does."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _counting(files: Listing, dependency: Any) -> Listing:
    """Leave out the files that .dvcignore leaves out."""
    return {path: blob for path, blob in files.items() if dvc_internals.counts(dependency, path)}
