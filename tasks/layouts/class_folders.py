"""A folder for each class, or for each split with these in it: paths to labelled files."""

from __future__ import annotations

from collections import defaultdict

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import rules

WAY_OUT = "a manifest.csv (path,label,split,group) says which is meant"


def examples(paths: list[str], folders: list[str]) -> list[Example]:
    """Label files by the folders that they are in.

    Parameters
    ----------
    paths : list of str
        Of files, relative, with slashes.
    folders : list of str
        Those that are known to exist, so that an empty one can be named.

    Raises
    ------
    tasks.errors.RefusedError
        If what a folder or a file is for does not show, or a class has no image.
    """
    tops = sorted({path.partition("/")[0] for path in (*folders, *(path for path in paths if "/" in path))})
    splits = _splits(tops)
    depth = 1 if splits else 0  # of the folders of classes
    found: list[Example] = []
    loose: list[str] = []
    passed_over: list[str] = []
    for path in paths:
        parts = path.split("/")
        if len(parts) > depth + 1:
            found.append(Example(path, parts[depth], splits.get(parts[0], "")))
        else:
            (loose if rules.looks_like_image(path) else passed_over).append(path)
    of_classes = {parts[depth] for parts in (path.split("/") for path in folders) if len(parts) == depth + 1}
    rules.refuse(
        {
            "images must be in the folder of a class, or named in a manifest.csv, and none beside these": loose,
            "the folder of a class must hold images; without are": sorted(of_classes - {e.label for e in found}),
        }
    )
    if passed_over:
        print(f"download: passed over, beside the folders of classes: {rules.first(passed_over)}")
    if not found:
        raise errors.RefusedError("images must have a folder for each class, with its images; received none")
    return found


def _splits(tops: list[str]) -> dict[str, str]:
    """The split of each top folder, where they are splits; empty where they are classes."""
    named = {top: rules.SPLITS[top.casefold()] for top in tops if top.casefold() in rules.SPLITS}
    if not named:
        return {}
    if others := [top for top in tops if top not in named]:
        raise errors.RefusedError(
            f"folders must be of splits or of classes; received {rules.first(list(named))} beside "
            f"{rules.first(others)}; {WAY_OUT}"
        )
    same = defaultdict[str, list[str]](list)
    for top, split in named.items():
        same[split].append(top)
    twice = [" and ".join(found) for found in same.values() if len(found) > 1]
    rules.refuse({f"a split must be one folder ({WAY_OUT})": twice})
    return named
