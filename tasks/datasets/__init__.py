"""Data sets in data/raw, behind one interface: a file for each form.

Packed images (`packed`), or the six files of CIFAR-10 (`cifar10_files`).
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.datasets import packed
from tasks.datasets.cifar10_files import Cifar10Files
from tasks.datasets.packed import Packed

Image = bytes | NDArray[np.uint8]  # the content of a file | pixels of shape (height, width, 3)


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
        Rows of one name stay on one side of a split; "" for a row on its own.
    files : list of str
        The name by which people know the image.
    contents : list of str
        A name of each row's bytes; equal for equal bytes.
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
    contents: list[str]
    splits_single_images: bool
    is_encoded: bool
    rows_at_once: int

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, Image]]]:
        """Make a function that reads rows, perhaps in another process.

        It yields each row with its image, in the order given, and raises ValueError if the data are damaged; the
        message names file and row. Ascending rows are read fastest.
        """
        ...


def open_dataset(raw: Path) -> Dataset:
    """Open the data set of a folder, whatever its form.

    Raises
    ------
    ValueError
        If its files are damaged; the message names file and row.
    """
    return Packed(raw) if (raw / packed.MANIFEST).exists() else Cifar10Files(raw)
