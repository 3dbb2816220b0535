"""Stage normalize: data/raw → data/normalized.

`python -m tasks.normalize --raw data/raw --normalized data/normalized`

Writes the training, validation and test images as uint8 arrays that can be memory-mapped, their labels, the class
names, and the constants that scale pixels, which are fitted on training pixels only. At most one file of the raw data
is in memory at a time. With `validation_fraction: 0` there are no validation files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tasks import arrays, step
from tasks.core import cifar10, pixels, splits
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
            labels = np.concatenate([part.copy() for _, part in _decoded(raw, cifar10.TRAINING_FILES)])
            train, validation = splits.split(labels, params.validation_fraction, params.train_images, params.seed)
            rows = {"train": train, "validation": validation} if len(validation) else {"train": train}
            _write_splits(folder, raw, cifar10.TRAINING_FILES, labels, rows)
            test_labels = np.concatenate([part.copy() for _, part in _decoded(raw, (cifar10.TEST_FILE,))])
            _write_splits(folder, raw, (cifar10.TEST_FILE,), test_labels, {"test": np.arange(cifar10.RECORDS)})
            images, _ = arrays.load_split(folder, "train", len(cifar10.CLASS_NAMES))
            parts = (images[start : start + cifar10.RECORDS] for start in range(0, len(images), cifar10.RECORDS))
            mean, std = pixels.channel_mean_std(parts, params.method)
        except ValueError as error:
            raise step.RefusedError(str(error)) from error
        arrays.write_findings(folder, [])
        arrays.write_description(folder, cifar10.CLASS_NAMES, "crop", params.method, mean, std)
    sizes = {"train": len(train), "validation": len(validation), "test": cifar10.RECORDS}
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    return sizes


def _decoded(raw: Path, names: tuple[str, ...]) -> Iterator[tuple[cifar10.Images, cifar10.Labels]]:
    for name in names:
        yield cifar10.decode(np.fromfile(raw / name, np.uint8), str(raw / name))


def _write_splits(
    folder: Path, raw: Path, names: tuple[str, ...], labels: cifar10.Labels, rows: Mapping[str, splits.Rows]
) -> None:
    """Write the rows of each split, which count over all of the raw files, in one pass over these."""
    image_shape = cifar10.SIDE, cifar10.SIDE, 3
    files = np.array([f"{name}/{record}" for name in names for record in range(cifar10.RECORDS)])
    with ExitStack() as stack:
        append = {
            split: stack.enter_context(
                arrays.split_writer(folder, split, files[own].tolist(), labels[own].astype(np.int32), image_shape)
            )
            for split, own in rows.items()
        }
        for number, (images, _) in enumerate(_decoded(raw, names)):
            first = number * cifar10.RECORDS
            for split, own in rows.items():
                append[split](images[own[(own >= first) & (own < first + cifar10.RECORDS)] - first])


if __name__ == "__main__":
    step.run(normalize)
