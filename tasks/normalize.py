"""Stage normalize: data/raw → data/normalized and reports/dataset.json.

`python -m tasks.normalize --raw data/raw --normalized data/normalized --report reports/dataset.json`

Decodes every image once, finds what would spoil the results, splits the images so that copies and groups stay on one
side, and writes each split as a uint8 array. The constants that scale pixels are fitted on training pixels alone. With
`validation_fraction: 0` there are no validation files.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import arrays, decoding, pixels, splits
from tasks.data.arrays import Finding
from tasks.data.duplicates import find_duplicates
from tasks.data.leaks import find_leaks
from tasks.datasets import Dataset, open_dataset
from tasks.params import load_block
from tasks.params.normalize import Normalize
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

ROWS_AT_ONCE = 1_000
UNREADABLE = Path("reports/unreadable.csv")  # git-ignored; the whole list of what a run refused
SHOWN = 10
Splits = NDArray[np.str_]  # of each row: "train", "validation", "test", or "" for none


class Readable(NamedTuple):
    """The images that can be read."""

    rows: splits.Rows  # of the data set
    images: arrays.Images  # of all rows of the data set, mapped into memory
    sizes: NDArray[np.int64]  # width and height of each readable file


def normalize(*, raw: Path, normalized: Path, report_path: Path) -> command_line.RunInfo:
    """Write the arrays of each split, and a report on them."""
    params = load_block("normalize", Normalize)
    with atomic_outputs(normalized, report_path) as (folder, report):
        folder.mkdir()
        try:
            dataset = open_dataset(raw)
            readable, unreadable = _decode(dataset, folder / "decoded", params)
            split_of, findings = _split(dataset, readable, params)
            _write_splits(folder, dataset, readable, split_of)
            training = _parts(readable.images, readable.rows[split_of == "train"])
            mean, std = pixels.channel_mean_std(training, params.method)
            (folder / "decoded").unlink()
        except ValueError as error:
            raise errors.RefusedError(str(error)) from error
        findings = [*unreadable, *_find_cropped(dataset, readable, split_of, params), *findings]
        arrays.write_findings(folder, findings)
        arrays.write_description(folder, dataset.classes, params.fit, params.method, mean, std)
        counts = _count(dataset, readable, split_of, findings)
        report.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    sizes = {split: int((split_of == split).sum()) for split in arrays.SPLITS}
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    return sizes


def _decode(dataset: Dataset, path: Path, params: Normalize) -> tuple[Readable, list[Finding]]:
    """Decode all images into one file; refuse or skip unreadable ones."""
    shape = decoding.choose_shape(dataset, params.size)
    decoded = decoding.decode_images(dataset, path, shape, params.fit if params.size else None)
    unreadable = [Finding("unreadable", dataset.files[row], "", "", "", fault) for row, _, fault in decoded if fault]
    if unreadable and (params.unreadable == "refuse" or len(unreadable) == len(dataset.files)):
        _refuse_unreadable(unreadable)
    kept = [result for result in decoded if not result.fault]
    rows, sizes = np.array([result.row for result in kept]), np.array([result.size for result in kept])
    _refuse_lost_classes(dataset, decoded, rows)
    if params.size and (longest := int(sizes.max())) < params.size:
        raise ValueError(f"normalize.size must be at most {longest}, the longest side of all; received {params.size}")
    images = np.memmap(path, np.uint8, "r", shape=(len(dataset.files), *shape, 3))
    return Readable(rows, images, sizes), unreadable


def _refuse_lost_classes(dataset: Dataset, decoded: list[decoding.Decoded], rows: splits.Rows) -> None:
    lost = set(dataset.labels.tolist()) - set(dataset.labels[rows].tolist())
    for row, _, fault in decoded:
        if dataset.labels[row] in lost:
            raise ValueError(
                f"every class must have images that can be read; received none of {len(lost)}, such as "
                f"{dataset.classes[dataset.labels[row]]}, whose {dataset.files[row]} {fault}; save them in another "
                "format, or remove the class"
            )


def _refuse_unreadable(unreadable: list[Finding]) -> None:
    UNREADABLE.parent.mkdir(exist_ok=True)
    with UNREADABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "reason"])
        writer.writerows([finding.file, finding.detail] for finding in unreadable)
    shown = "".join(f"\n  {finding.file}: {finding.detail}" for finding in unreadable[:SHOWN])
    raise errors.RefusedError(
        f"every image must be readable; received {len(unreadable):,} that are not, all listed in {UNREADABLE}; repair "
        f"or remove them, or set normalize.unreadable to skip; the first:{shown}"
    )


def _find_cropped(dataset: Dataset, readable: Readable, split_of: Splits, params: Normalize) -> list[Finding]:
    """List images that `crop` takes more than half of."""
    if not params.size or params.fit != "crop":
        return []
    lost = 1 - readable.sizes.min(axis=1) / readable.sizes.max(axis=1)
    found = [
        Finding("cropped", dataset.files[readable.rows[n]], split_of[n], "", "", f"{100 * lost[n]:.0f} % is cut off")
        for n in np.flatnonzero(lost > 0.5)
    ]
    if found:
        counts = f"{len(found):,} of {len(lost):,} images lose more than half of their area"
        print(f"normalize: {counts} by normalize.fit: crop; pad and stretch keep all of it")
    return found


def _split(dataset: Dataset, readable: Readable, params: Normalize) -> tuple[Splits, list[Finding]]:
    """Split the readable rows; list duplicates, conflicting labels and leaks."""
    rows = readable.rows
    labels, given = dataset.labels[rows], np.array(dataset.splits)[rows]
    names = [dataset.groups[row] for row in rows]
    contents = [dataset.contents[row] for row in rows]
    pairs = find_duplicates(_parts(readable.images, rows), contents, readable.sizes)
    if dataset.splits_single_images:
        split_of = _split_as_published(labels, given, params)
    else:
        groups = splits.merge_groups(names, pairs)
        fractions = {"test": params.test_fraction, "validation": params.validation_fraction}
        split_of = splits.assign_splits(labels, given, groups, fractions, params.seed, dataset.classes)
        split_of = splits.limit_training(labels, split_of, params.train_images, params.seed)

    def finding(kind: str, row: int, other: int, detail: str) -> Finding:
        file, other_file = dataset.files[rows[row]], dataset.files[rows[other]]
        return Finding(kind, file, str(split_of[row]), other_file, str(split_of[other]), detail)

    duplicates = [finding("duplicate", *pair) for pair in pairs]
    conflicts = [
        finding("conflict", row, other, f"{dataset.classes[labels[row]]}, {dataset.classes[labels[other]]}")
        for row, other, _ in pairs
        if labels[row] != labels[other]
    ]
    leaks = [finding("leak", *leak) for leak in find_leaks(split_of, names, pairs)]
    return split_of, [*duplicates, *conflicts, *leaks]


def _split_as_published(labels: NDArray[np.int32], given: Splits, params: Normalize) -> Splits:
    """Draw validation from CIFAR-10's training images, as published results do."""
    training = np.flatnonzero(given == "train")
    chosen = splits.split_rows(labels[training], params.validation_fraction, params.train_images, params.seed)
    split_of = np.where(given == "test", "test", "").astype("<U10")
    for split, rows in zip(("train", "validation"), chosen, strict=True):
        split_of[training[rows]] = split
    return split_of


def _parts(images: arrays.Images, rows: splits.Rows) -> Iterator[arrays.Images]:
    """Yield images in parts that fit into memory."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield images[rows[start : start + ROWS_AT_ONCE]]


def _write_splits(folder: Path, dataset: Dataset, readable: Readable, split_of: Splits) -> None:
    for split in arrays.SPLITS:
        rows = readable.rows[split_of == split]
        if len(rows):
            files = [dataset.files[row] for row in rows]
            parts = _parts(readable.images, rows)
            arrays.write_split(folder, split, files, dataset.labels[rows], readable.images.shape[1:], parts)


def _count(
    dataset: Dataset, readable: Readable, split_of: Splits, findings: list[Finding]
) -> dict[str, int | dict[str, int]]:
    """Count what `dvc metrics diff` compares: how the data changed between commits."""
    class_sizes = np.bincount(dataset.labels[readable.rows], minlength=len(dataset.classes))
    kinds = Counter(finding.kind for finding in findings)
    leaking = {(finding.split, finding.file) for finding in findings if finding.kind == "leak"}
    return {
        "images": len(readable.rows),
        "classes": len(dataset.classes),
        "smallest_class": int(class_sizes.min()),
        **{split: int((split_of == split).sum()) for split in arrays.SPLITS},
        "unreadable": kinds["unreadable"],
        "cropped": kinds["cropped"],
        "duplicates": kinds["duplicate"],
        "conflicts": kinds["conflict"],
        "leaks": {split: sum(leak_split == split for leak_split, _ in leaking) for split in arrays.SPLITS[1:]},
    }


if __name__ == "__main__":
    command_line.run(normalize)
