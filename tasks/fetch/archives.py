"""Tar and zip archives, read without unpacking them.

Refused: an archive that is damaged, that unpacks to more bytes than it may, and, of CIFAR-10's files, paths that leave
the archive and members that are not regular files of at most the expected size.
"""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tasks.errors import RefusedError

MAX_UNPACKED_BYTES = 2**28  # CIFAR-10's six files have 184 million


class ArchiveError(ValueError):
    """A damaged archive, or a refused member."""


def read_members(archive: Path, max_bytes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Read the named members of a tar archive, in the archive's order.

    `max_bytes` has the base names of the members to read, with the size that each may have.
    """
    seen = set()
    with open_tar(archive, MAX_UNPACKED_BYTES) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            name = path.name
            if path.is_absolute() or ".." in path.parts:
                raise ArchiveError(f"{member.name} must be a path inside the archive")
            if name not in max_bytes:
                continue
            if not member.isreg() or member.size > max_bytes[name] or name in seen:  # control: archive member
                raise ArchiveError(f"{member.name} must be one regular file of at most {max_bytes[name]:,} bytes")
            seen.add(name)
            yield name, read_member(tar, member)


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # a regular file
    return file.read()


@contextmanager
def open_tar(archive: Path, max_unpacked_bytes: int) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, plain or gzipped, as a stream."""
    with _name_damage(archive), archive.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if is_gzip else file
        limited = _Limited(stream, max_unpacked_bytes)
        with tarfile.open(fileobj=limited, mode="r|", encoding="utf-8") as tar:
            yield tar
        limited.check_end(tar.offset)


@contextmanager
def open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip of UTF-8 names, also without their flag."""
    with _name_damage(archive), zipfile.ZipFile(archive, metadata_encoding="utf-8") as opened:
        first = min((info.header_offset for info in opened.infolist()), default=0)
        if first > len("PK00"):  # what some tools write first  # control: zip behind another
            raise ArchiveError(f"must hold nothing before its first file; it has {first:,} bytes, as joined zips have")
        yield opened


@contextmanager
def _name_damage(archive: Path) -> Iterator[None]:
    """Raise ArchiveError for damage, and let errors of the disk pass."""
    try:
        yield
    except (ArchiveError, RefusedError):
        raise
    except UnicodeDecodeError as error:
        raise ArchiveError(f"its names must be UTF-8; received {error.object!r}; unpack it, and link that") from error
    except Exception as error:  # damage raises errors of many classes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ArchiveError(f"{archive.name} is not a readable archive: {error}") from error


class _Limited(io.BufferedIOBase):
    """A stream with a limit, for bombs: small files that unpack endlessly."""

    def __init__(self, stream: IO[bytes], max_bytes: int):
        self.stream, self.max_bytes = stream, max_bytes
        self.size = self.end = 0  # bytes that were read, and those up to the last that is not zero

    def read(self, size: int | None = -1) -> bytes:
        content = self.stream.read(-1 if size is None else size)
        if self.stream.tell() > self.max_bytes:  # control: bomb
            raise ArchiveError(f"must unpack to at most {self.max_bytes:,} bytes; there are more")
        if filled := len(content.rstrip(b"\0")):
            self.end = self.size + filled
        self.size += len(content)
        return content

    def check_end(self, offset: int) -> None:
        """Refuse files behind `offset`, where the reader of the tar stopped."""
        while self.read(2**20):  # to gzip's checksum, too
            pass
        if self.size < offset + tarfile.BLOCKSIZE:  # control: end of a tar
            raise ArchiveError("must end as a tar archive does; its last members are missing")
        if self.end > offset:  # control: files behind a tar's end
            raise ArchiveError(f"has a damaged header or a second archive at byte {offset:,}, and files behind it")
