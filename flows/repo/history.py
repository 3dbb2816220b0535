"""Files of earlier commits, amended and dropped ones included."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from flows.repo.git import git, git_bytes


class Blob(NamedTuple):
    """A file in git's store."""

    name: str
    size: int


Listing: TypeAlias = dict[str, Blob]  # by path from the project


def listing(root: Path, commit: str, path: str) -> Listing:
    """List a file, or all files of a folder, in a commit."""
    lines = git(root, "ls-tree", "-r", "-l", "-z", commit, "--", path).split("\0")[:-1]
    entries = ((file, details.split()) for details, file in (line.split("\t", 1) for line in lines))
    return {file: Blob(name, int(size)) for file, (_, kind, name, size) in entries if kind == "blob"}


def past_listings(root: Path, path: str) -> Iterator[Listing]:
    """Yield each past version of a path, of branches and the reflog."""
    for commit in git(root, "rev-list", "--all", "--reflog", "--full-history", "--", path).split():
        yield listing(root, commit, path)


def read_files(root: Path, files: Listing) -> dict[str, bytes]:
    """Read the files of a listing by one git process."""
    names = "".join(f"{blob.name}\n" for blob in files.values())
    content, start, contents = git_bytes(root, "cat-file", "--batch", given=names.encode()), 0, {}
    for path, blob in files.items():  # each between a line that describes it and a line end
        begin = content.index(b"\n", start) + 1
        contents[path] = content[begin : begin + blob.size]
        start = begin + blob.size + 1
    return contents
