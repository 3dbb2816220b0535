"""Stage normalize: data/raw → data/normalized and reports/dataset.json.

`python -m tasks.normalize --raw data/raw --weights data/efficientnet_lite0.sha256 --normalized data/normalized
--report reports/dataset.json`

Decodes every image once, finds what would spoil the results, splits the images so that copies and groups stay on one
side, and writes each split as a uint8 array. The constants that scale pixels are fitted on training pixels alone. With
`validation_fraction: 0` there are no validation files. With `folds`, all images but those of a given test split are
for training; those that a fold holds out are written once more, as test, or as validation beside a given test split.
Images are split by the labels that the data set gives, so that a corrected one moves no other image.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import arrays, clusters, decoding, groups, pixels, splits
from tasks.data.arrays import Finding
from tasks.data.digests import hash_text
from tasks.data.duplicates import Pair, Signatures, compute_signatures, find_duplicates
from tasks.data.leaks import find_closest, find_leaks
from tasks.datasets import Dataset, open_dataset, select_classes
from tasks.datasets.corrections import Corrected, apply_corrections, corrections_path, read_corrections
from tasks.params import load_block
from tasks.params.normalize import Normalize
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

ROWS_AT_ONCE = 1_000
UNREADABLE = Path("reports/unreadable.csv")  # git-ignored; the whole list of what a run refused
SHOWN = 10
FEW = 2_000  # own images, below which folds are recommended
N_CLOSE = 8  # pairs across splits that are listed
LITE0 = Path("data/efficientnet_lite0.sha256")  # which `normalize.copies: strict` compares images by
PROBLEMS = {  # as the terminal counts them, by the kind of their findings
    "unreadable": "unreadable images",
    "duplicate": "pairs of copies",
    "conflict": "of them with two labels",
    "left out": "images left out for that",
    "leak": "held-out images that leak",
    "corrected": "images corrected by hand",
}
Splits = NDArray[np.str_]  # of each row: "train", "validation", "test", or "" for none


class Readable(NamedTuple):
    """The images that can be read."""

    rows: splits.Rows  # of the data set
    images: arrays.Images  # of all rows of the data set, mapped into memory
    sizes: NDArray[np.int64]  # width and height of each readable file


class Copies(NamedTuple):
    """The copies among the readable images."""

    pairs: list[Pair]
    signatures: Signatures
    left_out: NDArray[np.bool_]  # by `normalize.conflicts`


class Division(NamedTuple):
    """The division of the readable images into splits and folds."""

    split_of: Splits
    together: NDArray[np.int64]  # one number for the images that stay together
    folds: NDArray[np.uint8] | None  # (n_train, n_folds): what each fold does with each training image

    def rows(self) -> dict[str, splits.Rows]:
        """List the readable rows of each split that is written."""
        rows = {split: np.flatnonzero(self.split_of == split) for split in arrays.SPLITS}
        if self.folds is not None:
            rows[self.held_out_split] = rows["train"][(self.folds == arrays.HELD_OUT).any(axis=1)]
        return rows

    @property
    def held_out_split(self) -> str:
        return "validation" if "test" in self.split_of else "test"


def normalize(*, raw: Path, normalized: Path, report_path: Path, weights: Path = LITE0) -> command_line.RunInfo:
    """Write the arrays of each split, and a report on them."""
    params = load_block("normalize", Normalize)
    with atomic_outputs(normalized, report_path) as (folder, report):
        folder.mkdir()
        try:
            dataset = open_dataset(raw)
            if params.classes:
                select_classes(dataset, params.classes)
            readable, unreadable = _decode(dataset, folder / "decoded", params)
            corrected, given = _correct(dataset), dataset.labels
            dataset.labels = corrected.labels
            copies = _find_copies(dataset, readable, params, weights)
            names = _name_groups(dataset, readable.rows, params.groups)
            divided = _divide(dataset, given, readable.rows, names, copies, params)
            division = _leave_out(divided, corrected.left_out[readable.rows])
            _refuse_lost_training(dataset, given, readable.rows, divided.split_of, division.split_of)
            split_of, rows = division.split_of, division.rows()
            _write_splits(folder, dataset, readable, division)
            training = _parts(readable.images, readable.rows[split_of == "train"])
            mean, std = pixels.channel_mean_std(training, params.method)
            (folder / "decoded").unlink()
        except ValueError as error:
            raise errors.RefusedError(str(error)) from error
        cropped = _find_cropped(dataset, readable, split_of, params)
        changed = _list_corrected(dataset, given, corrected, readable.rows, divided.split_of)
        findings = [*unreadable, *cropped, *changed, *_list_findings(dataset, readable.rows, names, split_of, copies)]
        arrays.write_findings(folder, findings)
        scaling = {"method": params.method, "mean": mean, "std": std}
        split_rule = None if dataset.splits_single_images else _describe_rule(params)
        arrays.write_description(folder, dataset.classes, params.fit, scaling, split_rule)
        sizes = {split: len(rows[split]) for split in arrays.SPLITS}
        counts = _count(dataset, readable, sizes, findings)
        counts["test_set_digest"] = hash_text(str(sorted(arrays.test_ids(folder).tolist()))) % 10**6
        report.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    print("normalize: " + ", ".join(f"{count:,} {name}" for name, count in sizes.items()) + " images")
    n = Counter(finding.kind for finding in findings)
    if found := ", ".join(f"{n[kind]:,} {name}" for kind, name in PROBLEMS.items() if n[kind]):
        print(f"normalize: {found}; all are in {normalized / arrays.FINDINGS}")
    return sizes


def _describe_rule(params: Normalize) -> dict[str, object]:
    if params.folds:
        return {"rule": splits.FOLD_RULE, **params.model_dump(include={"seed", "folds"})}
    return {"rule": splits.RULE, **params.model_dump(include={"seed", "test_fraction", "validation_fraction"})}


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


def _name_groups(dataset: Dataset, rows: splits.Rows, rule: str | None) -> list[str]:
    """Name each row's group, by the table or by a rule."""
    if rule is None:
        return [dataset.groups[row] for row in rows]
    if dataset.splits_single_images or any(dataset.groups):
        raise ValueError(f"normalize.groups must be null for CIFAR-10 and where a table names groups; received {rule}")
    labels = [dataset.classes[label] for label in dataset.labels[rows]]
    names = groups.name_groups([dataset.files[row] for row in rows], labels, rule)
    print(f"normalize: {len({*names} - {''}):,} groups of images, and {names.count(''):,} images on their own")
    return names


def _find_copies(dataset: Dataset, readable: Readable, params: Normalize, weights: Path) -> Copies:
    """Find the copies of pictures, and what the parameters make of them."""
    rows = readable.rows
    signatures = compute_signatures(_parts(readable.images, rows))
    if params.copies == "strict":
        from tasks.pretrained.lite0 import describe_pictures  # TensorFlow, which takes seconds

        signatures = signatures._replace(descriptors=describe_pictures(_parts(readable.images, rows), weights))
    files, contents = ([column[row] for row in rows] for column in (dataset.files, dataset.contents))
    pairs = find_duplicates(signatures, contents, readable.sizes, equal_only=params.copies == "none")
    pictures, labels = splits.merge_groups([""] * len(rows), pairs), dataset.labels[rows]
    if largest := clusters.describe_largest(pictures, labels, files, params.copies):
        if params.copies != "none" and not any(dataset.splits) and np.bincount(pictures).max() > len(rows) / 2:
            raise ValueError(f"copies of one picture must be less than half of all images to be divided; {largest}")
        print(f"normalize: warning: {largest}")
    left_out = clusters.have_several_labels(pictures, labels) & (params.conflicts == "leave_out")
    if len(lost := np.setdiff1d(labels, labels[~left_out])):
        raise ValueError(
            "normalize.conflicts: leave_out must leave images of every class; received none of "
            f"{dataset.classes[lost[0]]}, all of whose images have copies with another label; set it to keep"
        )
    return Copies(pairs, signatures, left_out)


def _correct(dataset: Dataset) -> Corrected:
    """Read corrections of labels; print which lines apply to no image."""
    lines = read_corrections(path := corrections_path())
    try:
        corrected = apply_corrections(lines, dataset.digests, dataset.labels, dataset.classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; correct the line, or remove it") from error
    if corrected.notes:
        shown = "; ".join(corrected.notes[:SHOWN])
        print(f"normalize: warning: {len(corrected.notes):,} lines of {path} are not applied; remove them: {shown}")
    return corrected


def _leave_out(division: Division, left_out: NDArray[np.bool_]) -> Division:
    """Take images out of every split, whichever they would be in."""
    folds, split_of = division.folds, np.where(left_out, "", division.split_of)
    if folds is not None:
        folds = folds[~left_out[division.split_of == "train"]]
    return Division(split_of, division.together, folds)


def _refuse_lost_training(
    dataset: Dataset, given: NDArray[np.int32], rows: splits.Rows, divided: Splits, left: Splits
) -> None:
    before, now = given[rows[divided == "train"]], dataset.labels[rows[left == "train"]]
    if len(lost := np.setdiff1d(before, now)):
        raise ValueError(
            f"{corrections_path()} must leave each class a training image; it takes the last of "
            f"{dataset.classes[lost[0]]}; remove a line of that class"
        )


def _list_corrected(
    dataset: Dataset, given: NDArray[np.int32], corrected: Corrected, rows: splits.Rows, split_of: Splits
) -> list[Finding]:
    return [
        Finding("corrected", dataset.files[row], str(split_of[n]), "", "", f"{dataset.classes[given[row]]}, {now}")
        for n, row in enumerate(rows.tolist())
        if (now := "left out" if corrected.left_out[row] else dataset.classes[corrected.labels[row]])
        and (corrected.left_out[row] or corrected.labels[row] != given[row])
        and split_of[n]
    ]


def _divide(
    dataset: Dataset, labels: NDArray[np.int32], rows: splits.Rows, names: list[str], copies: Copies, params: Normalize
) -> Division:
    """Divide the readable rows that are not left out, by given labels."""
    kept, split_of = np.flatnonzero(~copies.left_out), np.full(len(rows), "", "<U10")
    together = splits.merge_groups(names, copies.pairs)
    split_of[kept] = _assign_splits(dataset, labels, rows[kept], [names[row] for row in kept], together[kept], params)
    if not params.folds:
        return Division(split_of, together, None)
    training = np.flatnonzero(split_of == "train")
    folds = _assign_folds(labels[rows[training]], together[training], dataset.classes, params)
    return Division(split_of, together, folds)


def _assign_folds(
    labels: NDArray[np.int32], together: NDArray[np.int64], classes: Sequence[str], params: Normalize
) -> NDArray[np.uint8]:
    """Assign training images to folds; name what is never held out."""
    folds = splits.assign_folds(labels, together, params.folds, params.validation_fraction, params.seed)
    never = np.flatnonzero(~(folds == arrays.HELD_OUT).any(axis=1))
    print(f"normalize: {params.folds} folds hold out each of {len(folds) - len(never):,} images once")
    if len(never):
        shown = ", ".join(classes[label] for label in np.unique(labels[never])[:SHOWN])
        print(
            f"normalize: warning: {len(never):,} images are trained on and never predicted, as a class must have "
            f"{params.folds} images that need not stay together: {shown}"
        )
    if (largest := int(np.bincount(together).max())) > len(labels) / params.folds:
        print(
            f"normalize: warning: {largest:,} of {len(labels):,} images stay together, and are held out at once; if "
            "they need not, give them no group"
        )
    return folds


def _assign_splits(
    dataset: Dataset,
    of_rows: NDArray[np.int32],
    rows: splits.Rows,
    names: list[str],
    together: NDArray[np.int64],
    params: Normalize,
) -> Splits:
    """Keep given splits, and draw what own images lack."""
    labels, given = of_rows[rows], np.array(dataset.splits)[rows]
    if params.folds and "validation" in given:
        raise ValueError(
            f"normalize.folds must be 0 where the data set gives a validation split; received {params.folds}"
        )
    if dataset.splits_single_images and not params.folds:
        return _split_as_published(labels, given, params)
    keys = [f"{params.seed} {name or dataset.contents[row]}" for row, name in zip(rows, names, strict=True)]
    fractions = {"test": params.test_fraction, "validation": params.validation_fraction} if not params.folds else {}
    split_of = splits.assign_splits(labels, given, together, keys, fractions, dataset.classes)
    if fractions and not any(given):
        if len(rows) < FEW:
            n_test = f"the {(split_of == 'test').sum():,} of test"
            print(f"normalize: of {len(rows):,} images, normalize.folds: 5 would judge by all, instead of by {n_test}")
        for name, count in Counter(filter(None, names)).items():
            if count > params.test_fraction * len(names):
                text = f"group {name}, {count:,} of {len(names):,} images, is all {split_of[names.index(name)]}"
                print(f"normalize: warning: {text}; if they need not stay together, give them no group")
        if (untested := np.setdiff1d(labels, labels[split_of == "test"])).size:
            shown = ", ".join(dataset.classes[label] for label in untested[:SHOWN])
            print(f"normalize: warning: test has no image of {len(untested):,} classes, which no score covers: {shown}")
    return splits.limit_training(labels, split_of, params.train_images, params.seed)


def _list_findings(
    dataset: Dataset, rows: splits.Rows, names: list[str], split_of: Splits, copies: Copies
) -> list[Finding]:
    """List duplicates, conflicting labels, images left out, leaks and close pairs."""
    files, label_of = [dataset.files[row] for row in rows], [dataset.classes[label] for label in dataset.labels[rows]]
    conflicts = [
        (row, other, f"{label_of[row]}, {label_of[other]}")
        for row, other, _ in copies.pairs
        if label_of[row] != label_of[other]
    ]
    leaks = find_leaks(split_of, names, copies.pairs)
    is_judged = dataset.splits_single_images  # CIFAR-10's own split, by others
    close = [] if is_judged else find_closest(split_of, copies.signatures.vectors(), leaks, N_CLOSE)
    pairs: dict[str, Sequence[tuple[int, int, str]]]
    pairs = {"duplicate": copies.pairs, "conflict": conflicts, "leak": leaks, "close": close}
    left_out = np.flatnonzero(copies.left_out).tolist()
    return [
        *(Finding("left out", files[row], "", "", "", "a copy has another label") for row in left_out),
        *(
            Finding(kind, files[row], str(split_of[row]), files[other], str(split_of[other]), detail)
            for kind, found in pairs.items()
            for row, other, detail in found
        ),
    ]


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


def _write_splits(folder: Path, dataset: Dataset, readable: Readable, division: Division) -> None:
    rows_of = {split: readable.rows[rows] for split, rows in division.rows().items()}
    for split, rows in rows_of.items():
        if len(rows):
            files = [dataset.files[row] for row in rows]
            parts = _parts(readable.images, rows)
            arrays.write_split(folder, split, files, dataset.labels[rows], readable.images.shape[1:], parts)
            arrays.write_image_digests(folder, split, [dataset.digests[row] for row in rows])
    if division.folds is not None:
        held_out = division.held_out_split
        np.save(folder / arrays.FOLDS, division.folds)
        np.save(arrays.groups_path(folder, held_out), division.together[division.rows()[held_out]])
    if not dataset.splits_single_images:
        contents = [dataset.contents[row] for row in rows_of["test"]]
        np.save(folder / arrays.TEST_IDS, np.array([hash_text(content) for content in contents], np.uint64))


def _count(
    dataset: Dataset, readable: Readable, sizes: Mapping[str, int], findings: list[Finding]
) -> dict[str, int | dict[str, int]]:
    """Count what `dvc metrics diff` compares: how the data changed between commits."""
    class_sizes = np.bincount(dataset.labels[readable.rows], minlength=len(dataset.classes))
    kinds = Counter(finding.kind for finding in findings)
    of_split = Counter((finding.kind, finding.split) for finding in findings)
    leaking = {(finding.split, finding.file) for finding in findings if finding.kind == "leak"}
    return {
        "images": len(readable.rows),
        "classes": len(dataset.classes),
        "smallest_class": int(class_sizes.min()),
        **sizes,
        "unreadable": kinds["unreadable"],
        "cropped": kinds["cropped"],
        "duplicates": kinds["duplicate"],
        "conflicts": kinds["conflict"],
        "left_out": kinds["left out"],
        "corrected": {split: of_split["corrected", split] for split in arrays.SPLITS},
        "leaks": {split: sum(leak_split == split for leak_split, _ in leaking) for split in arrays.SPLITS[1:]},
    }


if __name__ == "__main__":
    command_line.run(normalize)
