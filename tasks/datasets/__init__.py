"""Data sets in data/raw, behind one interface: a file for each form."""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.datasets import packed
from tasks.datasets.cifar10 import Cifar10
from tasks.datasets.packed import Packed
from tasks.params.block import suggest

Image = bytes | NDArray[np.uint8]  # the content of a file | pixels of shape (height, width, 3)


class Dataset(Protocol):
    """Labelled images, row by row."""

    raw: Path  # its folder
    classes: list[str]  # sorted
    labels: NDArray[np.int32]  # of each row, an index into `classes`
    splits: list[str]  # "train", "validation" or "test"; "" where the data set gives no split
    groups: list[str]  # rows of one name stay on one side of a split; "" for a row on its own
    files: list[str]  # the name by which people know the image
    digests: list[str]  # the SHA-256 of each row's file, or pixels
    contents: list[str]  # a name of each row's bytes; equal for equal bytes
    splits_single_images: bool  # validation is drawn over single images, near-duplicates or not
    is_encoded: bool  # images are files that take time to decode
    rows_at_once: int  # how many rows are best read together

    def reader(self, rows: Iterable[int]) -> Callable[[], Iterator[tuple[int, Image]]]:
        """Make a function that reads rows, perhaps in another process.

        It yields each row with its image, in the order given, and raises ValueError if the data are damaged; the
        message names file and row. Ascending rows are read fastest.
        """
        ...


def open_dataset(raw: Path) -> Dataset:
    """Open the data set of a folder; ValueError names what is damaged."""
    return Packed(raw) if (raw / packed.MANIFEST).exists() else Cifar10(raw)


def select_classes(dataset: Dataset, names: Collection[str]) -> None:
    """Keep the rows of some classes alone; a name must be theirs."""
    check_classes(names, dataset.classes)
    wanted = [number for number, name in enumerate(dataset.classes) if name in names]
    rows = np.flatnonzero(np.isin(dataset.labels, wanted))
    dataset.labels = np.searchsorted(wanted, dataset.labels[rows]).astype(np.int32)
    dataset.classes = [dataset.classes[number] for number in wanted]
    for column in ("splits", "groups", "files", "digests", "contents"):
        setattr(dataset, column, [getattr(dataset, column)[row] for row in rows])


def check_classes(names: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError unless `names` are at least two of the known classes."""
    for name in names:
        if name not in known:
            raise ValueError(
                f"normalize.classes must be classes of the images; received {name}; {suggest(name, known)}"
            )
    if len(set(names)) < 2:
        raise ValueError(f"normalize.classes must name at least two classes; received {', '.join(names)}")
