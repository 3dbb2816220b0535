"""Reads the members of a tar archive that are wanted, as a stream that writes nothing.

Refused: paths that leave the archive, members that are not regular files of the expected size, and archives that
unpack to more than the data set can have.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

MAX_UNPACKED_BYTES = 2**28  # CIFAR-10's six files have 184 million
GZIP_MAGIC = b"\x1f\x8b"


class ArchiveError(ValueError):
    """An archive is damaged, or a member is not what it must be."""


def read_members(archive: Path, max_bytes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Stream the members of an archive that are wanted.

    Parameters
    ----------
    archive : Path
        A tar file, plain or compressed with gzip.
    max_bytes : mapping of str to int
        The base names of the members that are wanted, with the size that each may have.

    Yields
    ------
    name : str
        The base name.
    content : bytes

    Raises
    ------
    ArchiveError
        If the archive cannot be read, or a member is refused.
    OSError
        If the disk or the file system fails, which is no fault of the archive.
    """
    seen = set()
    try:
        with _open(archive) as tar:
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
                content = tar.extractfile(member)
                assert content is not None  # a regular file
                yield name, content.read()
    except ArchiveError:
        raise
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ArchiveError(f"{archive.name} is not a readable archive: {error}") from error


@contextmanager
def _open(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        is_zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if is_zipped else file
        with tarfile.open(fileobj=_Limited(stream), mode="r|") as tar:
            yield tar


class _Limited(io.BufferedIOBase):
    """Refuses to read a stream beyond the limit: a bomb is a small file that unpacks without end."""

    def __init__(self, stream: IO[bytes]):
        self.stream = stream

    def read(self, size: int | None = -1) -> bytes:
        content = self.stream.read(-1 if size is None else size)
        if self.stream.tell() > MAX_UNPACKED_BYTES:  # control: bomb
            raise ArchiveError(f"must unpack to at most {MAX_UNPACKED_BYTES:,} bytes; there are more")
        return content
