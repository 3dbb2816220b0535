"""What data/raw may hold, behind one interface: a file of this package for each form.

Packed images (`packed`), or the six files of CIFAR-10 (`cifar10_files`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """

    classes: list[str]
    labels: NDArray[np.int32]
    splits: list[str]
    groups: list[str]
    files: list[str]
    splits_single_images: bool

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
