"""Stage normalize: data/raw → data/normalized.

`python -m tasks.normalize --raw data/raw --normalized data/normalized`

Writes the training, validation and test images as uint8 arrays that can be memory-mapped, their labels, the class
names, and the constants that scale pixels, which are fitted on training pixels only. At most one file of the raw data
is in memory at a time. With `validation_fraction: 0` there are no validation files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tasks import arrays, step
from tasks.core import cifar10, pixels, splits
from tasks.datasets import Dataset, open_dataset
from tasks.outputs import atomic_outputs
from tasks.params import read
from tasks.params.normalize import Normalize


def normalize(*, raw: Path, normalized: Path) -> step.RunInfo:
    """Write the arrays and constants of the three splits.

    Raises
    ------
    tasks.step.RefusedError
        If a raw file is damaged (the message names file and record), or a split cannot be made.
    """
    params = read("normalize", Normalize)
    with atomic_outputs(normalized) as (folder,):
        folder.mkdir()
        try:
            dataset = open_dataset(raw)
            given = np.array(dataset.splits)
            training = np.flatnonzero(given == "train")
            labels = dataset.labels[training]
            train, validation = splits.split(labels, params.validation_fraction, params.train_images, params.seed)
            rows = {
                "train": training[train],
                "validation": training[validation],
                "test": np.flatnonzero(given == "test"),
            }
            rows = {split: chosen for split, chosen in rows.items() if len(chosen)}
            _write_splits(folder, dataset, rows)
            images, _ = arrays.load_split(folder, "train", len(cifar10.CLASS_NAMES))
            parts = (images[start : start + cifar10.RECORDS] for start in range(0, len(images), cifar10.RECORDS))
            mean, std = pixels.channel_mean_std(parts, params.method)
        except ValueError as error:
            raise step.RefusedError(str(error)) from error
        arrays.write_mean_std(folder, params.method, mean, std)
        arrays.write_class_names(folder, cifar10.CLASS_NAMES)
    sizes = {"train": len(train), "validation": len(validation), "test": cifar10.RECORDS}
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    return sizes


def _write_splits(folder: Path, dataset: Dataset, rows: Mapping[str, splits.Rows]) -> None:
    """Write the rows of each split, in one pass over the raw files."""
    image_shape = cifar10.SIDE, cifar10.SIDE, 3
    split_of = {int(row): split for split in rows for row in rows[split]}
    with ExitStack() as stack:
        append = {
            split: stack.enter_context(arrays.split_writer(folder, split, len(rows[split]), image_shape))
            for split in rows
        }
        for row, image in dataset.read(sorted(split_of)):
            if isinstance(image, bytes):
                raise step.RefusedError(f"images must be CIFAR-10's files; received {dataset.files[row]}")
            append[split_of[row]](image[None], dataset.labels[row : row + 1].astype(np.uint8))


if __name__ == "__main__":
    step.run(normalize)
