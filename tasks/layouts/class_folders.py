"""Folders of classes, or of splits, to labelled files."""

from collections import defaultdict

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import rules

ADVICE = "a manifest.csv (path,label,split,group) states what is meant"


def label_files(paths: list[str], folders: list[str]) -> list[Example]:
    """Label the files of a folder by the folders inside it."""
    tops = sorted({path.partition("/")[0] for path in (*folders, *(path for path in paths if "/" in path))})
    splits = _splits(tops)
    depth = 1 if splits else 0  # of the folders of classes
    examples: list[Example] = []
    loose: list[str] = []
    skipped: list[str] = []
    for path in paths:
        parts = path.split("/")
        if len(parts) > depth + 1:
            examples.append(Example(path, parts[depth], splits.get(parts[0], "")))
        else:
            (loose if rules.looks_like_image(path) else skipped).append(path)
    classes = {parts[depth] for parts in (path.split("/") for path in folders) if len(parts) == depth + 1}
    rules.refuse(
        {
            "images must be in the folder of a class, or named in a manifest.csv, and none beside these": loose,
            "the folder of a class must hold images": sorted(classes - {example.label for example in examples}),
        }
    )
    if skipped:
        print(f"download: skipped files beside the folders of classes: {rules.shorten(skipped)}")
    if not examples:
        raise errors.RefusedError("images must have a folder for each class, with its images; received none")
    return examples


def _splits(tops: list[str]) -> dict[str, str]:
    """Map top folders to splits; none if they are classes."""
    named = {top: rules.SPLITS[top.casefold()] for top in tops if top.casefold() in rules.SPLITS}
    if not named:
        return {}
    if others := [top for top in tops if top not in named]:
        raise errors.RefusedError(
            f"folders must be splits or classes; received {rules.shorten(list(named))} beside "
            f"{rules.shorten(others)}; {ADVICE}"
        )
    same = defaultdict[str, list[str]](list)
    for top, split in named.items():
        same[split].append(top)
    twice = [" and ".join(folders) for folders in same.values() if len(folders) > 1]
    rules.refuse({f"a split must be one folder ({ADVICE})": twice})
    return named
