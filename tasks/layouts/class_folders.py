"""Folders of classes, or of splits, to labelled files.

The words of a folder's name say which split it is: `train`, `seg_train`, `TestSet`, `val2017`. A name that could mean
two things is asked about. A folder around all classes is passed through, and so is one in each split.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import rules

ADVICE = "rename them, or write a manifest.csv of path,label,split with lines as dev/rose/1.png,rose,validation"
ASKED, UNLABELLED, BESIDE = "asked", "images without a label", "files beside the folders of classes"
WORDS = {
    **rules.SPLITS,
    **dict.fromkeys(("dev", "development", "eval", "evaluation", "holdout", "heldout", "trainval"), ASKED),
    **dict.fromkeys(("pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled", "unsup"), UNLABELLED),
}
# Words, also at the end of another, that tell no folder from the next: seg_train, training_set, testset.
NOISE = re.compile(r"(set|split|data|dataset|seg|image|img|photo|picture|pic|file|folder|jpe?g|png|labell?ed)s?$")
NOWHERE = "/"  # where no path begins


def label_files(paths: Sequence[str], folders: Sequence[str]) -> list[Example]:
    """Label the files of a folder by the folders inside it."""
    tops = sorted({path.partition("/")[0] for path in (*folders, *(path for path in paths if "/" in path))})
    splits = _splits(tops)
    roots = _roots(splits, paths, folders)
    examples: list[Example] = []
    others = defaultdict[str, list[str]](list)
    for path in paths:
        top = path.partition("/")[0]
        label, slash, _ = path.removeprefix(roots.get(top, "")).partition("/")
        if slash and path.startswith(roots.get(top, "")):
            examples.append(Example(path, label, splits.get(top, "")))
        else:
            kind = splits.get(top, "") if rules.looks_like_image(path) else BESIDE
            others[kind].append(path)
    inside = [(folder, roots.get(folder.partition("/")[0], "")) for folder in folders]
    classes = {folder.removeprefix(root).partition("/")[0] for folder, root in inside if folder.startswith(root)}
    for kind in (UNLABELLED, BESIDE):
        if left := others.pop(kind, []):
            print(f"download: skipped {kind}: {rules.shorten(left)}")
    loose = [path for paths in others.values() for path in paths]
    rules.refuse(
        {
            "images must be in the folder of a class, or named in a manifest.csv, and none beside these": loose,
            "the folder of a class must hold images": sorted(classes - {example.label for example in examples}),
            f"splits must hold the classes, and not be inside of them ({ADVICE})": _inner_splits(folders, roots),
        }
    )
    if not examples:
        raise errors.RefusedError("images must have a folder for each class, with its images; received none")
    return examples


def only_folder(prefix: str, paths: Sequence[str], folders: Sequence[str]) -> str:
    """Return the only folder inside another, where no image is beside it."""
    inside = {folder.removeprefix(prefix).partition("/")[0] for folder in folders if folder.startswith(prefix)}
    inner = f"{prefix}{min(inside, default='')}/"
    direct = {path[: path.rfind("/") + 1] for path in paths if rules.looks_like_image(path)}
    if len(inside) != 1 or prefix in direct or f"{prefix}{rules.MANIFEST}" in paths:
        return ""
    holds_classes = inner not in direct and any(folder.startswith(inner) for folder in folders)
    return inner if holds_classes or f"{inner}{rules.MANIFEST}" in paths else ""


def splits_of(name: str) -> set[str]:
    """Return the splits of a folder's name that says nothing else."""
    words = _words(name)
    return {WORDS[word] for word in words} if words <= WORDS.keys() else set()


def _words(name: str) -> set[str]:
    """Split a name into words, and drop those that say nothing."""
    words = (word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+", name))
    return {word if word in WORDS else NOISE.sub("", word) for word in words} - {""}


def _splits(tops: list[str]) -> dict[str, str]:
    """Map top folders to splits, or UNLABELLED; none if they are classes."""
    words = {top: _words(top) for top in tops}
    shared = set.intersection(*words.values()) - WORDS.keys() if len(tops) > 1 else set()
    kinds = {top: {WORDS[word] for word in words[top] & WORDS.keys()} for top in tops}
    named = {top: kinds[top] for top in tops if kinds[top] and words[top] - shared <= WORDS.keys()}
    given = set().union(*kinds.values()) - {ASKED, UNLABELLED}
    if len(given) < 2 and set().union(*named.values()) <= {UNLABELLED}:
        return {}  # a class may be called bullet_train, or prediction
    splits = {top: min(of) for top, of in named.items() if len(of) == 1 and of != {ASKED}}
    if others := [top for top in tops if top not in splits]:
        beside = f"{rules.shorten(list(splits))} beside " if splits else ""
        received = f"{beside}{rules.shorten(others)}"
        raise errors.RefusedError(
            f"folders must be train, validation and test, or classes; received {received}; {ADVICE}"
        )
    count = Counter(split for split in splits.values() if split != UNLABELLED)
    rules.refuse({f"a split must be one folder ({ADVICE})": [top for top in tops if count[splits[top]] > 1]})
    return splits


def _roots(splits: dict[str, str], paths: Sequence[str], folders: Sequence[str]) -> dict[str, str]:
    """Find the folder in each split that holds its classes."""
    roots = {top: f"{top}/" for top, split in splits.items() if split != UNLABELLED}
    while roots and all(inner := [only_folder(root, paths, folders) for root in roots.values()]):
        roots = dict(zip(roots, inner, strict=True))
    return dict.fromkeys(splits, NOWHERE) | roots


def _inner_splits(folders: Sequence[str], roots: dict[str, str]) -> list[str]:
    """List the splits inside of classes, where these are no splits."""
    inner = {folder: splits_of(folder.split("/")[1]) for folder in folders if folder.count("/") == 1 and not roots}
    named = set().union(*inner.values()) - {ASKED, UNLABELLED}
    return sorted(folder for folder in inner if inner[folder]) if len(named) > 1 else []
