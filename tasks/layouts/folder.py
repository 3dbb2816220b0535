"""A folder of own images: regular files, or links to such."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tasks import errors
from tasks.layouts import rules

LINKS = (
    "a folder inside must be no link, as DVC does not follow it: link the folder of all classes, and choose some by "
    "`normalize.classes`, or copy what is linked: `cp -RL '{}' data/chosen`"
)


class Folder:
    """The files of a folder by path, checked to be readable."""

    def __init__(self, root: Path, paths: Iterable[str], folders: Iterable[str] = (), left: Iterable[str] = ()):
        self.root = root
        self.paths, self.folders, self.left = sorted(paths), sorted(folders), list(left)
        rules.check_paths(self.paths)
        broken = defaultdict[str, list[str]](list)
        for path in self.paths:
            if rule := _broken_rule(f"{root}/{path}"):
                broken[rule].append(path)
        rules.refuse(broken)

    @classmethod
    def walk(cls, root: Path) -> Folder:
        """List all files and folders, without those that systems leave behind."""
        paths: list[str] = []
        folders: list[str] = []
        left: list[str] = []
        for parent, subfolders, files in os.walk(root, onerror=_refuse):
            inside = f"{Path(parent).relative_to(root).as_posix()}/".removeprefix("./")
            for kind, names in ((folders, subfolders), (paths, files)):
                for name in names:
                    (left if rules.is_left_by_a_system(name) else kind).append(inside + name)
            subfolders[:] = [name for name in subfolders if not rules.is_left_by_a_system(name)]
        linked = sorted(path for path in folders if (root / path).is_symlink())
        rules.refuse({LINKS.format(root): linked})
        return cls(root, paths, folders, left)

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        for path in sorted(paths):
            try:
                yield path, (self.root / path).read_bytes()
            except FileNotFoundError as error:
                raise errors.TemporaryError(
                    f"{self.root / path} was removed while the images were read; `dvc repro` starts again"
                ) from error


def _broken_rule(path: str) -> str:
    """Return the rule that a file breaks, or ""."""
    try:
        status = os.stat(path)  # noqa: PTH116  # pathlib takes three times as long
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return "an image must exist, or be a link to a file that exists"
        return f"an image must be readable ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "an image must be a regular file, and no folder, pipe, socket or device"
    if status.st_size > rules.MAX_FILE_BYTES:
        return f"an image must have at most {rules.MAX_FILE_BYTES:,} bytes"
    return "" if os.access(path, os.R_OK) else "an image must be readable"


def _refuse(error: OSError) -> None:
    raise errors.RefusedError(f"a folder must be readable; received {error.filename}: {error.strerror}") from error
