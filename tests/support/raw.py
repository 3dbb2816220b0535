"""A data set in CIFAR-10's files that a small network can learn, and its archive."""

import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.datasets import cifar10

ARCHIVE = "cifar-10-binary.tar.gz"


def write_files(folder: Path) -> None:
    """Write the six files: a class is a colour and a stripe.

    Contrast stays below the one from which on pictures are compared with all others, which would take the longest.
    """
    rng = np.random.default_rng(0)
    for name in cifar10.FILES:
        labels = rng.permutation(np.arange(cifar10.RECORDS) % 10).astype(np.uint8)
        images = np.zeros((cifar10.RECORDS, 32, 32, 3), np.uint8)
        images[..., 0] = (labels * 20)[:, None, None]
        images[..., 1] = rng.integers(0, 8, (cifar10.RECORDS, 1, 32), dtype=np.uint8)
        images[np.arange(cifar10.RECORDS), labels * 3, :, 2] = 255
        (folder / name).write_bytes(cifar10.encode(images, labels))


def write_archive(folder: Path, raw: Path) -> None:
    """Pack the six files as the official archive holds them."""
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as tar:
        for name in cifar10.FILES:
            tar.add(raw / name, f"cifar-10-batches-bin/{name}")


def write_checksums(path: Path, digests: Mapping[str, str]) -> Path:
    """A list of checksums as `sha256sum` writes it."""
    path.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return path


def linked(raw: Path, folder: Path, but: tuple[str, ...] = ()) -> Path:
    """A folder of the same files, to be read and never written; some may be left out."""
    folder.mkdir(parents=True)
    for file in raw.iterdir():
        if file.name not in but:
            (folder / file.name).symlink_to(file)
    return folder
