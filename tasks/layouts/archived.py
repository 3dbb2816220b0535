"""An archive of own images, read without unpacking it.

Refused: paths that leave the archive, links, devices, encrypted or repeated members, and an archive that unpacks to
more than images can.
"""

import stat
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks import errors
from tasks.fetch import archives
from tasks.layouts import rules

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_UNPACKED_BYTES = 2**28  # of a small archive; a larger one may unpack to
MAX_RATIO = 100  # times its size as well: drawings as BMP do, photographs hardly shrink


class _Member(NamedTuple):
    name: str
    is_folder: bool
    is_file: bool
    size: int
    content: bytes  # of a wanted file


class Archive:
    """Files of a zip, or of a tar, plain or gzipped."""

    def __init__(self, path: Path):
        self.archive = path
        self.left: list[str] = []
        self.paths, self.folders = self._list()

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        for member in self._members(paths):
            if member.is_file and (path := _path(member.name)) in paths:
                yield path, member.content

    def _members(self, wanted: Collection[str] = ()) -> Iterator[_Member]:
        members = _zip_members if self.archive.name.lower().endswith(".zip") else _tar_members
        limit = MAX_UNPACKED_BYTES + MAX_RATIO * self.archive.stat().st_size
        try:
            yield from members(self.archive, limit, wanted)
        except archives.ArchiveError as error:
            raise errors.RefusedError(f"{self.archive}: {error}") from error

    def _list(self) -> tuple[list[str], list[str]]:
        """List files and folders, and refuse members that break a rule."""
        paths: list[str] = []
        folders: set[str] = set()
        broken = defaultdict[str, list[str]](list)
        for member in self._members():
            name = member.name
            path = _path(name)
            if rules.is_left_by_a_system(path):
                self.left.append(path)
                continue
            rules.check_paths([name.rstrip("/") if member.is_folder else name])
            folders |= {str(parent) for parent in PurePosixPath(path).parents}
            if member.is_folder:
                folders.add(path)
                continue
            paths.append(path)
            if not member.is_file:  # control: link in an archive
                broken[f"{self.archive}: must hold regular files, and no links, pipes or devices"].append(name)
            if member.size > rules.MAX_FILE_BYTES:  # control: size of an image
                broken[f"{self.archive}: a file must have at most {rules.MAX_FILE_BYTES:,} bytes"].append(name)
        broken[f"{self.archive}: must hold a file once"] = [path for path, n in Counter(paths).items() if n > 1]
        rules.refuse(broken)
        return sorted(paths), sorted(folders - {"."})


def _path(name: str) -> str:
    return str(PurePosixPath(name))  # without `./`


def _tar_members(archive: Path, limit: int, wanted: Collection[str]) -> Iterator[_Member]:
    with archives.open_tar(archive, limit) as tar:
        for info in tar:
            content = archives.read_member(tar, info) if info.isreg() and _path(info.name) in wanted else b""
            yield _Member(info.name, info.isdir(), info.isreg(), info.size, content)


def _zip_members(archive: Path, limit: int, wanted: Collection[str]) -> Iterator[_Member]:
    with archives.open_zip(archive) as opened:
        infos = opened.infolist()
        rules.refuse({f"{archive}: must not be encrypted": [info.filename for info in infos if info.flag_bits & 1]})
        size = sum(info.file_size for info in infos)
        if size > limit:  # control: zip bomb
            raise errors.RefusedError(f"{archive}: must unpack to at most {limit:,} bytes; received {size:,}")
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the system that wrote it has no kinds
            # PowerShell writes Windows's own separator.
            name = info.filename.replace("\\", "/") if info.create_system == 0 else info.filename
            is_folder = name.endswith("/")
            is_file = not is_folder and kind in {0, stat.S_IFREG}
            content = _read_stated(opened, info) if is_file and _path(name) in wanted else b""
            yield _Member(name, is_folder, is_file, info.file_size, content)


def _read_stated(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with opened.open(info) as file:  # `ZipFile.read` would read more than the member states
        return file.read(max(info.file_size, 1))
