"""Stage normalize: data/raw → data/normalized.

`python -m tasks.normalize data/raw data/normalized`

Writes the training, validation and test images as uint8 arrays that can be memory-mapped, their
labels, the class names, and the constants that scale pixels, which are fitted on training pixels
only. At most one file of the raw data is in memory at a time. With `validation_fraction: 0`
there are no validation files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks import step
from tasks.core import cifar10, pixels, splits
from tasks.params import read
from tasks.params.normalize import Normalize


def normalize(raw: Path, normalized: Path) -> step.Facts:
    """Write the arrays and constants of the three splits.

    Raises
    ------
    tasks.step.RefusedError
        If a raw file is damaged (the message names file and record), or a split cannot be made.
    """
    params = read(Normalize)
    with step.publishing(normalized) as (folder,):
        folder.mkdir()
        try:
            labels = np.concatenate([part.copy() for _, part in _decoded(raw, cifar10.TRAINING_FILES)])
            train, validation = splits.split(labels, params.validation_fraction, params.train_images, params.seed)
            _write(folder, "train", raw, cifar10.TRAINING_FILES, train)
            if len(validation):
                _write(folder, "validation", raw, cifar10.TRAINING_FILES, validation)
            _write(folder, "test", raw, (cifar10.TEST_FILE,), np.arange(cifar10.RECORDS))
            images = np.load(folder / "train_images.npy", mmap_mode="r")
            chunks = (images[start : start + cifar10.RECORDS] for start in range(0, len(images), cifar10.RECORDS))
            mean, std = pixels.channel_mean_std(chunks, params.method)
        except ValueError as error:
            raise step.RefusedError(str(error)) from error
        _write_json(folder / "constants.json", {"method": params.method, "mean": mean, "std": std})
        _write_json(folder / "classes.json", list(cifar10.CLASS_NAMES))
    sizes = {"train": len(train), "validation": len(validation), "test": cifar10.RECORDS}
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    return sizes


def _decoded(raw: Path, names: tuple[str, ...]) -> Iterator[tuple[cifar10.Images, cifar10.Labels]]:
    for name in names:
        yield cifar10.decode(np.fromfile(raw / name, np.uint8), str(raw / name))


def _write(folder: Path, split: str, raw: Path, names: tuple[str, ...], rows: splits.Rows) -> None:
    """Write the images and labels of `rows`, counted over all of `names`, one raw file at a time."""
    shape = (len(rows), cifar10.SIDE, cifar10.SIDE, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    labels = []
    with (folder / f"{split}_images.npy").open("wb") as file:  # not a memory map, which a full disk would kill
        np.lib.format.write_array_header_1_0(file, header)
        for number, (part_images, part_labels) in enumerate(_decoded(raw, names)):
            first = number * cifar10.RECORDS
            here = rows[(rows >= first) & (rows < first + cifar10.RECORDS)] - first
            file.write(np.ascontiguousarray(part_images[here]).data)
            labels.append(part_labels[here])
    np.save(folder / f"{split}_labels.npy", np.concatenate(labels))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    step.run(normalize)
