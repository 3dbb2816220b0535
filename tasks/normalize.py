"""Stage normalize: data/raw → data/normalized and reports/dataset.json.

`python -m tasks.normalize --raw data/raw --normalized data/normalized --report reports/dataset.json`

Decodes every image once, finds what would spoil the results (files that cannot be read, duplicates, one picture with
two labels), divides the images so that no copy and no group is on two sides of a split, and writes each split as a
uint8 array that can be memory-mapped. The constants that scale pixels are fitted on training pixels alone. With
`validation_fraction: 0` there are no validation files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import arrays, decoding, duplicates, pixels, splits
from tasks.data.arrays import Finding
from tasks.datasets import Dataset, open_dataset
from tasks.params import load_block
from tasks.params.normalize import Normalize
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

ROWS_AT_ONCE = 1_000
UNREADABLE = Path("reports/unreadable.csv")  # git-ignored; the whole list of what a run refused
SHOWN = 10


class Readable(NamedTuple):
    """The images that can be read."""

    rows: splits.Rows  # of the data set
    images: arrays.Images  # of all rows of the data set, mapped into memory
    sizes: NDArray[np.int64]  # width and height of each readable file


def normalize(*, raw: Path, normalized: Path, report_path: Path) -> command_line.RunInfo:
    """Write the arrays of each split and the report on the data set.

    Raises
    ------
    tasks.errors.RefusedError
        If the raw data are damaged, an image cannot be read, or a split cannot be made.
    """
    params = load_block("normalize", Normalize)
    with atomic_outputs(normalized, report_path) as (folder, report):
        folder.mkdir()
        try:
            dataset = open_dataset(raw)
            readable, unreadable = _decode(dataset, folder / "decoded", params)
            division = _divide(dataset, readable, params)
            _write_splits(folder, dataset, readable, division.split_of)
            (folder / "decoded").unlink()
            mean, std = pixels.channel_mean_std(_parts(arrays.load_images(folder, "train")), params.method)
        except ValueError as error:
            raise errors.RefusedError(str(error)) from error
        arrays.write_findings(folder, [*unreadable, *division.findings])
        arrays.write_description(folder, dataset.classes, params.fit, params.method, mean, std)
        counts = _counts(dataset, readable, unreadable, division)
        report.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    sizes = {split: int((division.split_of == split).sum()) for split in arrays.SPLITS}
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    return sizes


def _decode(dataset: Dataset, path: Path, params: Normalize) -> tuple[Readable, list[Finding]]:
    """Decode all images into one file, and refuse or leave out those that cannot be read."""
    shape = (params.size, params.size) if params.size else decoding.first_shape(dataset)
    decoded = decoding.decode(dataset, path, shape, params.fit if params.size else None)
    unreadable = [Finding("unreadable", dataset.files[one.row], "", "", "", one.fault) for one in decoded if one.fault]
    if unreadable and (params.unreadable == "refuse" or len(unreadable) == len(dataset.files)):
        _refuse_unreadable(unreadable)
    kept = [one for one in decoded if not one.fault]
    rows, sizes = np.array([one.row for one in kept]), np.array([one.size for one in kept])
    if lost := {dataset.labels[one.row] for one in decoded if one.fault} - set(dataset.labels[rows].tolist()):
        first = next(one for one in decoded if dataset.labels[one.row] in lost)
        raise ValueError(
            f"every class must have images that can be read; received none of {len(lost)}, such as "
            f"{dataset.classes[dataset.labels[first.row]]}, whose {dataset.files[first.row]} {first.fault}; save "
            "them in another format, or remove the class"
        )
    if params.size and (longest := int(sizes.max())) < params.size:
        raise ValueError(f"normalize.size must be at most {longest}, the longest side of all; received {params.size}")
    images = np.memmap(path, np.uint8, "r", shape=(len(dataset.files), *shape, 3))
    return Readable(rows, images, sizes), unreadable


def _refuse_unreadable(unreadable: list[Finding]) -> None:
    UNREADABLE.parent.mkdir(exist_ok=True)
    with UNREADABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "reason"])
        writer.writerows([one.file, one.detail] for one in unreadable)
    shown = "".join(f"\n  {one.file}: {one.detail}" for one in unreadable[:SHOWN])
    raise errors.RefusedError(
        f"every image must be readable; received {len(unreadable):,} that are not, all listed in {UNREADABLE}; mend or "
        f"remove them, or set normalize.unreadable to skip; the first:{shown}"
    )


class Division(NamedTuple):
    """Which split each readable row belongs to, "" for none, and what was found on the way."""

    split_of: NDArray[np.str_]
    findings: list[Finding]


def _divide(dataset: Dataset, readable: Readable, params: Normalize) -> Division:
    rows = readable.rows
    labels, given = dataset.labels[rows], np.array(dataset.splits)[rows]
    names = [dataset.groups[row] for row in rows]
    pairs = duplicates.find(_parts(readable.images, rows), [dataset.content_of(row) for row in rows], readable.sizes)
    if dataset.splits_single_images:
        split_of = _drawn_as_published(labels, given, params)
    else:
        fractions = splits.Fractions(params.test_fraction, params.validation_fraction)
        split_of = splits.divide(
            labels, given, splits.merge_groups(names, pairs), fractions, params.seed, dataset.classes
        )
        split_of[~splits.keep(labels, split_of, params.train_images, params.seed)] = ""
    leaks = splits.leaks(split_of, names, pairs)

    def finding(kind: str, row: int, other: int, detail: str) -> Finding:
        file, other_file = (dataset.files[rows[one]] for one in (row, other))
        return Finding(kind, file, str(split_of[row]), other_file, str(split_of[other]), detail)

    conflicts = [pair for pair in pairs if labels[pair.row] != labels[pair.other]]
    return Division(
        split_of,
        [
            *(finding("duplicate", *pair) for pair in pairs),
            *(
                finding("conflict", row, other, f"{dataset.classes[labels[row]]}, {dataset.classes[labels[other]]}")
                for row, other, _ in conflicts
            ),
            *(finding("leak", *leak) for leak in leaks),
        ],
    )


def _drawn_as_published(labels: NDArray[np.int32], given: NDArray[np.str_], params: Normalize) -> NDArray[np.str_]:
    """Draw validation from CIFAR-10's training images as everybody does, whose results are compared with ours."""
    training = np.flatnonzero(given == "train")
    chosen = splits.split(labels[training], params.validation_fraction, params.train_images, params.seed)
    split_of = np.where(given == "test", "test", "").astype("<U10")
    for split, rows in zip(("train", "validation"), chosen, strict=True):
        split_of[training[rows]] = split
    return split_of


def _parts(images: arrays.Images, rows: splits.Rows | None = None) -> Iterator[arrays.Images]:
    """Read images in parts that memory holds, whatever their number."""
    n = len(images) if rows is None else len(rows)
    for start in range(0, n, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield images[part] if rows is None else images[rows[part]]


def _write_splits(folder: Path, dataset: Dataset, readable: Readable, split_of: NDArray[np.str_]) -> None:
    for split in arrays.SPLITS:
        rows = readable.rows[split_of == split]
        if len(rows):
            files = [dataset.files[row] for row in rows]
            with arrays.split_writer(folder, split, files, dataset.labels[rows], readable.images.shape[1:]) as append:
                for part in _parts(readable.images, rows):
                    append(part)


def _counts(
    dataset: Dataset, readable: Readable, unreadable: list[Finding], division: Division
) -> dict[str, int | dict[str, int]]:
    """Count what `dvc metrics diff` compares: how the data changed from one commit to another."""
    of_class = np.bincount(dataset.labels[readable.rows], minlength=len(dataset.classes))
    kinds = {kind: [one for one in division.findings if one.kind == kind] for kind in ("duplicate", "conflict", "leak")}
    return {
        "images": len(readable.rows),
        "classes": len(dataset.classes),
        "smallest_class": int(of_class.min()),
        **{split: int((division.split_of == split).sum()) for split in arrays.SPLITS},
        "unreadable": len(unreadable),
        "duplicates": len(kinds["duplicate"]),
        "conflicts": len(kinds["conflict"]),
        "leaks": {split: len({one.file for one in kinds["leak"] if one.split == split}) for split in arrays.SPLITS[1:]},
    }


if __name__ == "__main__":
    command_line.run(normalize)
