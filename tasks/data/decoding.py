"""All images of a data set as one array on the disk, decoded in as many processes as there are cores.

Each process reads and decodes a part of the rows and writes their pixels where they belong, so that no pixel passes
through another process and memory does not grow with the number of images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from tqdm import tqdm

from tasks.data import images
from tasks.datasets import Dataset, Image

Reader = Callable[[], Iterator[tuple[int, Image]]]


class Decoded(NamedTuple):
    """What became of a row: the (width, height) of its file, and why it cannot be read, or nothing."""

    row: int
    size: tuple[int, int]
    fault: str


def first_shape(dataset: Dataset) -> tuple[int, int]:
    """Find the height and width of the first image that can be read; one pixel where none can."""
    for _, image in dataset.read(range(len(dataset.labels))):
        with suppress(images.PictureError):
            width, height = _picture(image).size
            return height, width
    return 1, 1


def decode(dataset: Dataset, path: Path, shape: tuple[int, int], fit: str | None) -> list[Decoded]:
    """Write the pixels of every row of a data set into a file, in the order of the rows.

    Parameters
    ----------
    dataset : Dataset
    path : Path
        Becomes uint8 of shape (n, height, width, 3), without a header. Rows that are left out stay 0.
    shape : tuple of int
        Height and width that each image is brought to, in pixels.
    fit : str or None
        A key of `tasks.data.images.FITS`. None: all images must have the shape.

    Returns
    -------
    list of Decoded
        By row.

    Raises
    ------
    ValueError
        If the data set is damaged, or an image has another shape than it must have.
    OSError
        If the file cannot be written.
    """
    n, part = len(dataset.labels), dataset.rows_at_once
    path = path.absolute()  # a process that is used again may be in another folder
    path.touch()
    os.truncate(path, n * shape[0] * shape[1] * 3)
    parts = [range(start, min(start + part, n)) for start in range(0, n, part)]
    jobs = joblib.cpu_count() if dataset.is_encoded else 1
    tasks = (joblib.delayed(_decode_part)(dataset.reader(rows), path, shape, fit) for rows in parts)
    done = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
    with tqdm(total=n, desc="normalize", unit=" images", mininterval=5, disable=not dataset.is_encoded) as bar:
        decoded: list[Decoded] = []
        for rows in done:
            if fit is None:
                _refuse_another_shape(dataset, rows, shape)
            decoded += rows
            bar.update(len(rows))
    return decoded


def _refuse_another_shape(dataset: Dataset, decoded: list[Decoded], shape: tuple[int, int]) -> None:
    height, width = shape
    for one in decoded:
        if not one.fault and one.size != (width, height):
            raise ValueError(
                f"normalize.size must be set where images differ in size, such as to 96; received null, a file of "
                f"{width} × {height} pixels, and {dataset.files[one.row]} of {one.size[0]} × {one.size[1]}"
            )


def _decode_part(reader: Reader, path: Path, shape: tuple[int, int], fit: str | None) -> list[Decoded]:
    decoded = []
    with path.open("r+b", buffering=0) as file:
        for row, image in reader():
            try:
                picture = _picture(image, max(shape) if fit else None)
            except images.PictureError as error:
                decoded.append(Decoded(row, (0, 0), str(error)))
                continue
            decoded.append(Decoded(row, picture.size, ""))
            if fit:
                picture = images.fit(picture, shape, fit)
            if picture.pixels.shape[:2] == shape:
                pixels = np.ascontiguousarray(picture.pixels)
                os.pwrite(file.fileno(), pixels.data, row * pixels.nbytes)
    return decoded


def _picture(image: Image, least: int | None = None) -> images.Picture:
    """Read an image that is encoded; take the pixels of one that is not."""
    if isinstance(image, bytes):
        return images.read(image, least)
    return images.Picture(image, (), (image.shape[1], image.shape[0]))
