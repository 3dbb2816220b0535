"""Rules of own images: for paths, labels and splits."""

import fnmatch
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tasks import errors
from tasks.datasets.packed import Example

MANIFEST = "manifest.csv"
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# fmt: off
IMAGE_SUFFIXES = {  # with formats that are not read: such a file is meant as an image
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".ico", ".tif",
    ".tiff", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".tga", ".heic", ".heif", ".dng", ".cr2",
    ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
}
# fmt: on
# What tables write where a label is missing: pandas, NumPy, R, Excel, SQL, and UCI's data sets.
MISSING_LABELS = {"nan", "NaN", "NAN", "None", "NULL", "null", "NA", "N/A", "n/a", "#N/A", "<NA>", "?", "-1"}
MAX_FILE_BYTES = 2**29  # 100 million pixels of 4 bytes, uncompressed, have 400 million
MAX_LABEL_BYTES = 255
SHOWN = 10


def refuse(broken: Mapping[str, Sequence[str]]) -> None:
    """Raise RefusedError for the first broken rule that has names."""
    for rule, names in broken.items():
        if names:
            raise errors.RefusedError(f"{rule}; received {shorten(names)}")


def shorten(names: Sequence[str]) -> str:
    """List the first ten names, and the count if there are more."""
    shown = ", ".join(name if name.isprintable() and name else repr(name) for name in (n[:300] for n in names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more ({len(names):,} in all)"


def _read_names(heading: str) -> re.Pattern[str]:
    """Read the names below a heading of .dvcignore."""
    section = (Path(__file__).parents[2] / ".dvcignore").read_text(encoding="utf-8").partition(f"# {heading}")[2]
    lines = section.partition("\n\n")[0].splitlines()[1:]
    return re.compile("|".join(fnmatch.translate(line.rpartition("/")[2]) for line in lines if line[0] != "#"))


UNFINISHED = _read_names("Unfinished downloads")
LEFT_BY_SYSTEMS = _read_names("Left behind by systems")


def is_left_by_a_system(path: str) -> bool:
    """Return whether a path is hidden, or something that systems leave behind."""
    return any(
        part not in {".", ".."} and (LEFT_BY_SYSTEMS.match(part) or UNFINISHED.match(part)) for part in path.split("/")
    )


def looks_like_image(path: str) -> bool:
    return PurePosixPath(path).suffix.casefold() in IMAGE_SUFFIXES


def is_plain(text: str) -> bool:
    """Return whether a text is Unicode on one line, without control characters."""
    categories = (unicodedata.category(character) for character in text)
    return text.isprintable() or not {"Cc", "Cs", "Zl", "Zp"}.intersection(categories)


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that leave their folder or break a line."""
    broken = defaultdict[str, list[str]](list)
    for path in paths:
        if not is_plain(path):
            broken["a path must be UTF-8 without line breaks or control characters"].append(path)
        elif "\\" in path:
            broken["a path must be written with / and no \\"].append(path)
        elif not path or path.startswith("/") or ".." in path.split("/"):  # control: path of an image
            broken["a path must stay inside the folder, so be relative and without `..`"].append(path)
    refuse(broken)


def check_examples(examples: list[Example]) -> None:
    """Refuse labelled files that no classifier can be trained and tested on."""
    check_paths(example.file for example in examples)
    images = Counter(example.label for example in examples)
    labels = sorted(images)
    refuse(
        {
            "a label must be no word for a missing one: leave these images out, or give their class another name": [
                f"{label!r} of {images[label]:,} images"
                for label in labels
                if label in MISSING_LABELS and not {*labels} <= {"-1", "0", "1"}
            ],
            "a label must be a name of at most 255 bytes on one line, without `..`, / or \\": [
                label for label in labels if not _is_name(label)
            ],
            "a group must be on one line, without control characters": sorted(
                {example.group for example in examples if not is_plain(example.group)}
            ),
            "labels must differ in more than case, spaces or Unicode form": _find_alike(labels),
        }
    )
    if len(labels) < 2:
        raise errors.RefusedError(
            f"there must be images of at least 2 classes; received {shorten(labels) or 'no image'}"
        )
    if any(example.split for example in examples):
        _check_given_split(examples, labels)
    else:
        single = [label for label in labels if images[label] == 1]
        refuse({"a class must have at least 2 images, or it cannot be split": single})


def _is_name(label: str) -> bool:
    has_path = ".." in label or "/" in label or "\\" in label
    return is_plain(label) and not has_path and 0 < len(label.encode()) <= MAX_LABEL_BYTES and label.strip() != ""


def _find_alike(labels: Collection[str]) -> list[str]:
    same = defaultdict[str, list[str]](list)
    for label in labels:
        same[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [" and ".join(map(repr, alike)) for alike in same.values() if len(alike) > 1]


def _check_given_split(examples: list[Example], labels: list[str]) -> None:
    labels_of = defaultdict[str, set[str]](set)
    for example in examples:
        labels_of[example.split].add(example.label)
    unsplit = [example.file for example in examples if not example.split]
    refuse({"a split must be given for every image or for none": unsplit})
    if not {"train", "test"} <= set(labels_of):
        raise errors.RefusedError(
            f"a given split must have images for train and for test; received {', '.join(sorted(labels_of))} only; add "
            "the missing split, or give no split and let normalize draw it"
        )
    missing = {split: [label for label in labels if label not in labels_of[split]] for split in sorted(labels_of)}
    refuse({"train must have images of every class, but has none of some": missing["train"]})
    for split in ("validation", "test"):
        if missing.get(split):
            print(f"download: warning: {split} has no image of {shorten(missing[split])}: no score covers it")
