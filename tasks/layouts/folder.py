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


class Folder:
    """The files of a folder by path, checked to be readable."""

    def __init__(self, root: Path, paths: Iterable[str], folders: Iterable[str] = ()):
        self.root = root
        self.paths, self.folders = sorted(paths), sorted(folders)
        rules.check_paths(self.paths)
        broken = defaultdict[str, list[str]](list)
        for path in self.paths:
            if rule := _broken_rule(root / path):
                broken[rule].append(path)
        rules.refuse(broken)

    @classmethod
    def walk(cls, root: Path) -> Folder:
        """List all files and folders, without those that systems leave behind."""
        paths: list[str] = []
        folders: list[str] = []
        for parent, subfolders, files in os.walk(root, onerror=_refuse):
            inside = Path(parent).relative_to(root)
            subfolders[:] = [name for name in subfolders if not rules.is_left_by_a_system(name)]
            folders += [(inside / name).as_posix() for name in subfolders]
            paths += [(inside / name).as_posix() for name in files if not rules.is_left_by_a_system(name)]
        linked = [path for path in folders if (root / path).is_symlink()]
        rules.refuse({"a folder inside must be no link, as DVC does not follow it": sorted(linked)})
        return cls(root, paths, folders)

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        for path in sorted(paths):
            try:
                yield path, (self.root / path).read_bytes()
            except FileNotFoundError as error:
                raise errors.TemporaryError(
                    f"{self.root / path} was removed while the images were read; `dvc repro` starts again"
                ) from error


def _broken_rule(path: Path) -> str:
    """Return the rule that a file breaks, or ""."""
    try:
        status = path.stat()
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
