"""CIFAR-10's six binary files: bytes to images and labels, and back.

A file is 10,000 records of 3,073 bytes: one label (0–9), then 1,024 red, 1,024 green and
1,024 blue values, each plane in row-major order (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAINING_FILES = tuple(f"data_batch_{n}.bin" for n in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAINING_FILES, TEST_FILE)

SIDE = 32
RECORDS = 10_000  # in each file
RECORD_BYTES = 1 + 3 * SIDE * SIDE
FILE_BYTES = RECORDS * RECORD_BYTES

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


def decode(content: NDArray[np.uint8], name: str) -> tuple[Images, Labels]:
    """Split the bytes of the file `name` into images and labels.

    Returns
    -------
    images : ndarray of shape (10_000, 32, 32, 3), dtype=uint8
        A view of `content`.
    labels : ndarray of shape (10_000,), dtype=uint8

    Raises
    ------
    ValueError
        If the size is not that of 10,000 records, or a label is above 9.
    """
    if content.size != FILE_BYTES:
        raise ValueError(f"{name}: must have {FILE_BYTES:,} bytes (10,000 records); received {content.size:,}")
    records = content.reshape(RECORDS, RECORD_BYTES)
    labels = records[:, 0]
    if (wrong := np.flatnonzero(labels >= len(CLASS_NAMES))).size:
        record = wrong[0]
        raise ValueError(f"{name}: record {record}: label must be at most 9; received {labels[record]}")
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def encode(images: Images, labels: Labels) -> bytes:
    """Join images and labels into a file's bytes, as `decode` splits them."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


class Cifar10:
    """The six files as a data set; memory holds one."""

    splits_single_images = True  # its published split is one of single images
    is_encoded = False
    rows_at_once = RECORDS

    def __init__(self, raw: Path):
        self.raw = raw
        self.classes = list(CLASS_NAMES)
        labels, self.digests = [], list[str]()
        for name in FILES:
            images, of_file = _decode_file(raw / name)
            labels.append(of_file.astype(np.int32))
            self.digests += [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        self.labels: NDArray[np.int32] = np.concatenate(labels)
        self.files = [f"{name}/{record}" for name in FILES for record in range(RECORDS)]
        self.splits = ["test" if name == TEST_FILE else "train" for name in FILES for _ in range(RECORDS)]
        self.groups = [""] * len(self.files)
        self.contents = self.files

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, Images]]]:
        """Make a function that reads rows of shape (32, 32, 3)."""
        return partial(self._read, rows)

    def _read(self, rows: Iterable[int]) -> Iterator[tuple[int, Images]]:
        opened, images = "", np.empty(0, np.uint8)
        for row in rows:
            name, record = self.files[row].split("/")
            if name != opened:
                opened, images = name, np.ascontiguousarray(_decode_file(self.raw / name)[0])
            yield row, images[int(record)]


def _decode_file(path: Path) -> tuple[Images, Labels]:
    return decode(np.fromfile(path, np.uint8), str(path))
