"""Decoding: all images of a data set into one file.

Each process decodes a part of the rows and writes their pixels where they belong. So no pixel passes through another
process, and memory does not grow with the number of images. What was decoded is kept by the content of its file, for
other splits, more images and corrected labels.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tasks.data import images
from tasks.datasets import Dataset, Image
from tasks.run import kept

MAX_SIDE = 512  # of images without a size: photographs are larger, and nothing here trains on so many pixels
ANNOUNCED = 10**9  # bytes of arrays
KEPT_TOGETHER = 32 * 2**20  # bytes of pixels in a file, which is the most that a kill loses
DECODING_CODE = ("data",)  # the code in tasks/ that decides pixels


class Decoded(NamedTuple):
    """The result for a row."""

    row: int
    size: tuple[int, int]  # width and height of the file
    fault: str  # why it cannot be read, or ""


def choose_shape(dataset: Dataset, size: int | None) -> tuple[int, int]:
    """Choose the height and width of all images.

    Without a size they are those of the first readable image; ValueError is raised if it is as large as a photograph,
    or if the size is above the longest side of all images. Large arrays are announced.
    """
    file, width, height, longest = "", size or 1, size or 1, 0
    for row, image in dataset.reader(range(len(dataset.labels)))():
        with suppress(images.PictureError):
            sides = _to_picture(image).size
            longest = max(longest, *sides)
            if not size:
                file, (width, height) = dataset.files[row], sides
        if longest >= (size or 1):
            break
    if size and 0 < longest < size:
        raise ValueError(f"normalize.size must be at most {longest}, the longest side of all; received {size}")
    n_bytes = len(dataset.labels) * height * width * 3
    n_packed = sum(file.stat().st_size for file in dataset.raw.iterdir())
    needs = f"make {n_bytes / 1e6:,.0f} MB of arrays from {n_packed / 1e6:,.1f} MB of files"
    if not size and max(height, width) > MAX_SIDE:
        raise ValueError(
            f"normalize.size must be set for images of more than {MAX_SIDE} pixels a side, such as to 96; received "
            f"null, and {file} of {width} × {height}: {len(dataset.labels):,} such images {needs}"
        )
    if n_bytes > ANNOUNCED:
        print(f"normalize: {len(dataset.labels):,} images of {width} × {height} {needs}, and twice that meanwhile")
    return height, width


def decode_images(dataset: Dataset, path: Path, shape: tuple[int, int], resize_mode: str | None) -> list[Decoded]:
    """Write the pixels of all rows into a file, in order.

    The file becomes uint8 of shape (n, height, width, 3), without a header; rows that cannot be read stay 0. `shape` is
    the height and width that each image is brought to. Without a `resize_mode` each must have it, or ValueError is
    raised. Pixels that an earlier run has kept are not decoded again.
    """
    n, part = len(dataset.labels), dataset.rows_at_once
    path = path.absolute()  # a process that is used again may be in another folder
    path.touch()
    os.truncate(path, n * shape[0] * shape[1] * 3)
    store = _KeptPictures(dataset.contents, path, shape, resize_mode) if dataset.is_encoded else None
    decoded = store.take() if store else []
    n_kept, missing = len(decoded), sorted(set(range(n)) - {row for row, _, _ in decoded})
    parts = [missing[start : start + part] for start in range(0, len(missing), part)]
    jobs = min(joblib.cpu_count(), len(parts)) if dataset.is_encoded else 1
    tasks = (joblib.delayed(_decode_part)(dataset.reader(rows), path, shape, resize_mode) for rows in parts)
    done = joblib.Parallel(n_jobs=jobs or 1, return_as="generator")(tasks)
    with tqdm(
        total=len(missing), desc="normalize", unit=" images", mininterval=5, disable=not (store and parts)
    ) as bar:
        for rows in done:
            if resize_mode is None:
                _refuse_another_shape(dataset, rows, shape)
            decoded += rows
            if store:
                store.keep(decoded[n_kept:], at_least=KEPT_TOGETHER if len(decoded) < n else 1)
            bar.update(len(rows))
    if store:
        print(f"pictures: {n_kept:,} of {n:,} kept from before, {len(missing):,} decoded")
    return sorted(decoded)


class _KeptPictures:
    """Decoded pictures, kept by the content of their files."""

    def __init__(self, contents: Sequence[str], path: Path, shape: tuple[int, int], resize_mode: str | None):
        self.folder = kept.FOLDER / f"pictures-{kept.cache_key((), (), f'{shape} {resize_mode}', DECODING_CODE)}"
        self.digests, self.path = [bytes.fromhex(content) for content in contents], path
        self.pixels = np.memmap(path, np.uint8, "r", shape=(len(contents), *shape, 3))
        self.n_seen = 0  # results that are kept, or cannot be read
        # The arrays of the splits and DVC's copy of them need room first.
        self.has_room = shutil.disk_usage(path.parent).free > 4 * self.pixels.nbytes
        if not self.has_room:
            print(f"pictures: not kept, because the disk has less than {4 * self.pixels.nbytes / 1e6:,.0f} MB free")

    def take(self) -> list[Decoded]:
        """Write the pixels of kept pictures into the file."""
        taken, rows_of = [], defaultdict[bytes, list[int]](list)
        for row, digest in enumerate(self.digests):
            rows_of[digest].append(row)
        with self.path.open("r+b") as file:
            for digest, size, pixels in kept.read_kept(self.folder, rows_of):
                for row in rows_of.pop(digest, []):
                    _write_pixels(file, row, pixels)
                    taken.append(Decoded(row, (int(size[0]), int(size[1])), ""))
        return taken

    def keep(self, decoded: Sequence[Decoded], at_least: int) -> None:
        """Keep what is new, once it has so many bytes."""
        new = [result for result in decoded[self.n_seen :] if not result.fault]
        if self.has_room and len(new) * self.pixels[0].nbytes >= at_least:
            rows, self.n_seen = [result.row for result in new], len(decoded)
            digests, sizes = [self.digests[row] for row in rows], np.array([result.size for result in new])
            self.has_room = kept.keep(self.folder, digests, sizes=sizes, pixels=self.pixels[rows])


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
    with path.open("r+b") as file:
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
                _write_pixels(file, row, picture.pixels)
    return decoded


def _write_pixels(file: BinaryIO, row: int, pixels: NDArray[np.uint8]) -> None:
    file.seek(row * pixels.nbytes)
    file.write(np.ascontiguousarray(pixels).data)  # whole or with an error, which `os.pwrite` is not on a full disk


def _to_picture(image: Image, min_side: int | None = None) -> images.Picture:
    """Read an encoded image, or take the pixels of another."""
    if isinstance(image, bytes):
        return images.read_picture(image, min_side)
    return images.Picture(image, (), (image.shape[1], image.shape[0]))
