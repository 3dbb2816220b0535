"""CIFAR-10's six files as a data set, in the files' order."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.datasets import cifar10


class Cifar10Files:
    """The data set, with one file in memory at a time."""

    splits_single_images = True  # its published split is one of single images
    is_encoded = False
    rows_at_once = cifar10.RECORDS

    def __init__(self, raw: Path):
        self.raw = raw
        self.classes = list(cifar10.CLASS_NAMES)
        self.labels: NDArray[np.int32] = np.concatenate(
            [self._decode(name)[1].astype(np.int32) for name in cifar10.FILES]
        )
        self.files = [f"{name}/{record}" for name in cifar10.FILES for record in range(cifar10.RECORDS)]
        self.splits = [
            "test" if name == cifar10.TEST_FILE else "train" for name in cifar10.FILES for _ in range(cifar10.RECORDS)
        ]
        self.groups = [""] * len(self.files)
        self.contents = self.files

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, cifar10.Images]]]:
        """Make a function that reads rows of shape (32, 32, 3)."""
        return partial(self._read, rows)

    def _read(self, rows: Iterable[int]) -> Iterator[tuple[int, cifar10.Images]]:
        number, images = -1, np.empty(0, np.uint8)
        for row in rows:
            file, record = divmod(int(row), cifar10.RECORDS)
            if file != number:
                number, images = file, np.ascontiguousarray(self._decode(cifar10.FILES[file])[0])
            yield row, images[record]

    def _decode(self, name: str) -> tuple[cifar10.Images, cifar10.Labels]:
        path = self.raw / name
        return cifar10.decode(np.fromfile(path, np.uint8), str(path))
