"""What data/raw may hold, behind one interface: a file of this package for each form.

Packed images (`packed`), or the six files of CIFAR-10 (`cifar10_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.datasets import packed
from tasks.datasets.cifar10_files import Cifar10Files
from tasks.datasets.packed import Packed

Image = bytes | NDArray[np.uint8]  # a file as its owner has it | pixels of shape (height, width, 3)


class Dataset(Protocol):
    """Labelled images, row by row.

    Attributes
    ----------
    classes : list of str
        Sorted names.
    labels : ndarray of shape (n,), dtype=int32
        For each row, an index into `classes`.
    splits : list of str
        "train", "validation" or "test" where the data set gives a split, "" where it gives none.
    groups : list of str
        What must stay on one side of a split; "" for a row on its own.
    files : list of str
        The name by which people know the image.
    splits_single_images : bool
        Whether validation is drawn over single images, near-duplicates or not.
    is_encoded : bool
        Whether images are files that take time to decode.
    rows_at_once : int
        How many rows are best read together.
    """

    classes: list[str]
    labels: NDArray[np.int32]
    splits: list[str]
    groups: list[str]
    files: list[str]
    splits_single_images: bool
    is_encoded: bool
    rows_at_once: int

    def content_of(self, row: int) -> str:
        """Name the content of a row; rows of equal bytes have one name."""
        ...

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, Image]]]:
        """Make what reads these rows, as `read` does, perhaps in another process."""
        ...

    def read(self, rows: Iterable[int]) -> Iterator[tuple[int, Image]]:
        """Yield each of the rows with its image, in the order given; ascending rows are read fastest.

        Raises
        ------
        ValueError
            If the data are damaged; the message names file and row.
        """
        ...


def open_dataset(raw: Path) -> Dataset:
    """Open the data set of a folder, in whichever form it is.

    Raises
    ------
    ValueError
        If its files are damaged; the message names file and row.
    """
    return Packed(raw) if (raw / packed.MANIFEST).exists() else Cifar10Files(raw)
