"""Decoding: all images of a data set into one file.

Each process decodes a part of the rows and writes their pixels where they belong. So no pixel passes through another
process, and memory does not grow with the number of images.
"""

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


class Decoded(NamedTuple):
    """The result for a row."""

    row: int
    size: tuple[int, int]  # width and height of the file
    fault: str  # why it cannot be read, or ""


def read_first_shape(dataset: Dataset) -> tuple[int, int]:
    """Read the height and width of the first readable image, else 1."""
    for _, image in dataset.reader(range(len(dataset.labels)))():
        with suppress(images.PictureError):
            width, height = _to_picture(image).size
            return height, width
    return 1, 1


def decode_images(dataset: Dataset, path: Path, shape: tuple[int, int], resize_mode: str | None) -> list[Decoded]:
    """Write the pixels of all rows into a file, in order.

    The file becomes uint8 of shape (n, height, width, 3), without a header; rows that cannot be read stay 0. `shape` is
    the height and width that each image is brought to. Without a `resize_mode` each must have it, or ValueError is
    raised.
    """
    n, part = len(dataset.labels), dataset.rows_at_once
    path = path.absolute()  # a process that is used again may be in another folder
    path.touch()
    os.truncate(path, n * shape[0] * shape[1] * 3)
    parts = [range(start, min(start + part, n)) for start in range(0, n, part)]
    jobs = joblib.cpu_count() if dataset.is_encoded else 1
    tasks = (joblib.delayed(_decode_part)(dataset.reader(rows), path, shape, resize_mode) for rows in parts)
    done = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
    with tqdm(total=n, desc="normalize", unit=" images", mininterval=5, disable=not dataset.is_encoded) as bar:
        decoded: list[Decoded] = []
        for rows in done:
            if resize_mode is None:
                _refuse_another_shape(dataset, rows, shape)
            decoded += rows
            bar.update(len(rows))
    return decoded


def _refuse_another_shape(dataset: Dataset, decoded: list[Decoded], shape: tuple[int, int]) -> None:
    height, width = shape
    for row, size, fault in decoded:
        if not fault and size != (width, height):
            raise ValueError(
                f"normalize.size must be set where images differ in size, such as to 96; received null, a file of "
                f"{width} × {height} pixels, and {dataset.files[row]} of {size[0]} × {size[1]}"
            )


def _decode_part(
    reader: Callable[[], Iterator[tuple[int, Image]]], path: Path, shape: tuple[int, int], resize_mode: str | None
) -> list[Decoded]:
    decoded = []
    with path.open("r+b", buffering=0) as file:
        for row, image in reader():
            try:
                picture = _to_picture(image, max(shape) if resize_mode else None)
            except images.PictureError as error:
                decoded.append(Decoded(row, (0, 0), str(error)))
                continue
            decoded.append(Decoded(row, picture.size, ""))
            if resize_mode:
                picture = images.resize_picture(picture, shape, resize_mode)
            if picture.pixels.shape[:2] == shape:
                pixels = np.ascontiguousarray(picture.pixels)
                os.pwrite(file.fileno(), pixels.data, row * pixels.nbytes)
    return decoded


def _to_picture(image: Image, min_side: int | None = None) -> images.Picture:
    """Read an encoded image, or take the pixels of another."""
    if isinstance(image, bytes):
        return images.read_picture(image, min_side)
    return images.Picture(image, (), (image.shape[1], image.shape[0]))
