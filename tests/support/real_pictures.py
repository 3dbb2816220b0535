"""Real pictures as files: those of Debian's package dataset-fashion-mnist, and arrays written as PNG."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FASHION = Path("/usr/share/datasets/fashion-mnist")
# fmt: off
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)
# fmt: on


def fashion(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the pictures, of shape (n, 28, 28), and labels of a split: train or t10k.

    The format is IDX: a header of four bytes, and four for each axis (Y. LeCun, "The MNIST database").
    """
    images, labels = (
        np.frombuffer(gzip.decompress((FASHION / f"{split}-{part}-ubyte.gz").read_bytes()), np.uint8)
        for part in ("images-idx3", "labels-idx1")
    )
    return images[16:].reshape(-1, 28, 28), labels[8:]


def write_pngs(folder: Path, images: Iterable[NDArray[np.uint8]], names: Iterable[str]) -> None:
    """Write each image under its name, in whichever folders that names."""
    for image, name in zip(images, names, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, "PNG", compress_level=1)
