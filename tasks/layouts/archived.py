"""An archive's files, read as a stream that writes nothing.

Refused: paths that leave the archive, links, devices, members that are there twice, and what unpacks to more than
images can.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks import errors
from tasks.fetch import archives
from tasks.layouts import rules

MAX_UNPACKED_BYTES = 2**28  # of a small archive; a larger one may unpack to
MAX_RATIO = 100  # times its size as well: drawings as BMP do, photographs hardly shrink


class Zip:
    """The files of a zip."""

    def __init__(self, archive: Path):
        self.archive = archive
        with _readable_zip(archive) as opened:
            members = opened.infolist()
        rules.refuse({f"{archive}: must not be encrypted": [one.filename for one in members if one.flag_bits & 1]})
        self.paths, self.folders = _listed(archive, map(_of_zip, members))
        limit, size = _max_unpacked_bytes(archive), sum(member.file_size for member in members)
        if size > limit:  # control: zip bomb
            raise errors.RefusedError(f"{archive}: must unpack to at most {limit:,} bytes; received {size:,}")

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of the paths with its content."""
        with _readable_zip(self.archive) as opened:
            for member in opened.infolist():
                if not member.is_dir() and (path := _path(member.filename)) in paths:
                    with opened.open(member) as file:
                        yield path, file.read(max(member.file_size, 1))  # `read()` would believe the stream instead


class Tar:
    """The files of a tar archive, plain or compressed with gzip."""

    def __init__(self, archive: Path):
        self.archive = archive
        with _readable_tar(archive) as opened:
            self.paths, self.folders = _listed(archive, map(_of_tar, opened))

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of the paths with its content."""
        with _readable_tar(self.archive) as opened:
            for member in opened:
                if member.isreg() and (path := _path(member.name)) in paths:
                    yield path, archives.content(opened, member)


class _Member(NamedTuple):
    name: str
    is_folder: bool
    is_file: bool
    size: int


def _of_zip(member: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the system that wrote it has no kinds
    return _Member(member.filename, member.is_dir(), kind in {0, stat.S_IFREG}, member.file_size)


def _of_tar(member: tarfile.TarInfo) -> _Member:
    return _Member(member.name, member.isdir(), member.isreg(), member.size)


def _listed(archive: Path, members: Iterable[_Member]) -> tuple[list[str], list[str]]:
    """The paths of an archive's files and folders, once all members are what they may be."""
    paths: list[str] = []
    folders: set[str] = set()
    broken = defaultdict[str, list[str]](list)
    for name, is_folder, is_file, size in members:
        rules.check_paths([name.rstrip("/") if is_folder else name])
        path = _path(name)
        if rules.is_left_by_a_system(path):
            continue
        if not is_folder:
            paths.append(path)
            if not is_file:  # control: link in an archive
                broken[f"{archive}: must hold regular files, and no links, pipes or devices"].append(name)
            if size > rules.MAX_FILE_BYTES:  # control: size of an image
                broken[f"{archive}: a file must have at most {rules.MAX_FILE_BYTES:,} bytes"].append(name)
        folders |= {path} if is_folder else set()
        folders |= {str(parent) for parent in PurePosixPath(path).parents}
    broken[f"{archive}: must hold a file once"] = [path for path, count in Counter(paths).items() if count > 1]
    rules.refuse(broken)
    return sorted(paths), sorted(folders - {"."})


def _path(name: str) -> str:
    return str(PurePosixPath(name))  # without `./`


def _max_unpacked_bytes(archive: Path) -> int:
    return MAX_UNPACKED_BYTES + MAX_RATIO * archive.stat().st_size


@contextmanager
def _readable_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with archives.opened(archive, _max_unpacked_bytes(archive)) as opened:
            yield opened
    except archives.ArchiveError as error:
        raise errors.RefusedError(f"{archive}: {error}") from error


@contextmanager
def _readable_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except errors.RefusedError:
        raise
    except Exception as error:  # damage shows in many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise errors.RefusedError(f"{archive}: is not a readable zip: {error}") from error
