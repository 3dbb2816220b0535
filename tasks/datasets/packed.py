"""Packed images: unchanged files in at most 16 zips.

manifest.csv    a row for each file: its name, label, split, group, SHA-256 and size
images-0.zip … images-f.zip    the contents, stored, each distinct one once, under its SHA-256, sharded by first digit

DVC hashes and keeps some twenty files instead of a hundred thousand, and one more photo changes one shard. The same
files give the same bytes, in whatever order and at whatever time they were written. The rows are sorted by SHA-256, so
that any part of them is a fair sample of all.
"""

import csv
import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.csv"
SPLITS = ("", "train", "validation", "test")
SHA256 = re.compile(r"[0-9a-f]{64}")
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can state
OPEN_SHARDS = 2  # a list of members takes memory, and ascending rows need one shard after the other
ADVICE = "`make doctor` restores it"


class Example(NamedTuple):
    """An image: its file's path, label, split and group."""

    file: str
    label: str
    split: str = ""
    group: str = ""


class Row(NamedTuple):
    """A row of the manifest."""

    file: str
    label: str
    split: str
    group: str
    sha256: str
    bytes: int


def write_packed(folder: Path, examples: Iterable[tuple[Example, bytes]]) -> list[Row]:
    """Pack files into an empty folder; return the rows of the manifest."""
    rows = []
    places: dict[str, tuple[int, int]] = {}  # of each content in the unsorted file of its shard
    with ExitStack() as stack:
        unsorted: dict[str, IO[bytes]] = {}
        for example, content in examples:
            digest = hashlib.sha256(content).hexdigest()
            rows.append(Row(*example, digest, len(content)))
            if digest not in places:
                if digest[0] not in unsorted:
                    unsorted[digest[0]] = stack.enter_context((folder / f"unsorted-{digest[0]}").open("w+b"))
                places[digest] = unsorted[digest[0]].tell(), len(content)
                unsorted[digest[0]].write(content)
        ordered = sorted(places)
        for digit, contents in sorted(unsorted.items()):
            members = [digest for digest in ordered if digest[0] == digit]
            _write_shard(_shard_path(folder, digit), ((digest, *places[digest]) for digest in members), contents)
            contents.close()
            (folder / f"unsorted-{digit}").unlink()
    rows.sort(key=lambda row: (row.sha256, row.file))
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Row._fields, *rows])
    return rows


def _write_shard(path: Path, members: Iterable[tuple[str, int, int]], contents: IO[bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as shard:
        for name, start, size in members:
            member = zipfile.ZipInfo(name, DATE)
            member.create_system = 3  # Unix, whose attributes follow
            member.external_attr = 0o644 << 16
            contents.seek(start)
            shard.writestr(member, contents.read(size))


def _shard_path(raw: Path, sha256: str) -> Path:
    return raw / f"images-{sha256[0]}.zip"


def read_content(raw: Path, sha256: str) -> bytes:
    """Read a file's content by its SHA-256; fastest in the manifest's order."""
    path = _shard_path(raw, sha256)
    try:
        content = _shard(path, path.stat().st_mtime_ns, os.getpid()).read(sha256)
    except KeyError as error:
        raise ValueError(f"{path}: lacks member {sha256}; {ADVICE}") from error
    except Exception as error:  # damage raises errors of many classes
        raise ValueError(f"{path}: member {sha256} cannot be read: {error}; {ADVICE}") from error
    received = hashlib.sha256(content).hexdigest()
    if received != sha256:  # control: packed image
        raise ValueError(f"{path}: member {sha256} must have the SHA-256 of its name; received {received}; {ADVICE}")
    return content


@lru_cache(maxsize=OPEN_SHARDS)
def _shard(path: Path, modified: int, process: int) -> zipfile.ZipFile:
    """Open a shard once in each process: forks share file positions."""
    return zipfile.ZipFile(path)


class Packed:
    """A packed folder as a data set."""

    splits_single_images = False
    is_encoded = True
    rows_at_once = 64

    def __init__(self, raw: Path):
        self.raw = raw
        rows = _read_manifest(raw / MANIFEST)
        self.classes = sorted({row.label for row in rows})
        index = {name: number for number, name in enumerate(self.classes)}
        self.labels: NDArray[np.int32] = np.array([index[row.label] for row in rows], np.int32)
        self.splits = [row.split for row in rows]
        self.groups = [row.group for row in rows]
        self.files = [row.file for row in rows]
        self.contents = self.digests = [row.sha256 for row in rows]

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, bytes]]]:
        """Make a function that reads rows, small to send to a process."""
        return partial(_read_rows, self.raw.absolute(), [(row, self.contents[row], self.files[row]) for row in rows])


def _read_rows(raw: Path, rows: list[tuple[int, str, str]]) -> Iterator[tuple[int, bytes]]:
    for row, digest, file in rows:
        try:
            yield row, read_content(raw, digest)
        except ValueError as error:
            raise ValueError(f"row {row} ({file}): {error}") from error


def _read_manifest(path: Path) -> list[Row]:
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            if (header := next(lines, [])) != list(Row._fields):
                raise ValueError(f"its header must be {','.join(Row._fields)}; received {','.join(header)[:200]}")
            for number, line in enumerate(lines):
                row = _parse_row(number, line)
                if rows and (row.sha256, row.file) <= (rows[-1].sha256, rows[-1].file):
                    raise ValueError(f"row {number}: must come after the row before it, by sha256 and file")
                rows.append(row)
            return rows
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}; {ADVICE}") from error


def _parse_row(number: int, line: list[str]) -> Row:
    if len(line) == len(Row._fields):
        file, label, split, group, sha256, size = line
        if file and label and split in SPLITS and SHA256.fullmatch(sha256) and size.isdecimal():
            return Row(file, label, split, group, sha256, int(size))
    raise ValueError(f"row {number}: must be {', '.join(Row._fields)}; received {','.join(line)[:300]}")
