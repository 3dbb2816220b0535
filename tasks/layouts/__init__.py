"""Own images: a folder, an archive or a manifest, to labelled files. Nothing is written into what the user has.

A folder for each class; or `train`, `validation` and `test` with these in each; or `manifest.csv`, which wins over
folders. What could be meant in two ways is refused and named, with all of its kind: no label and no split is guessed.
An archive is read as a stream and never unpacked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import class_folders, manifest, rules
from tasks.layouts.archived import Tar, Zip
from tasks.layouts.folder import Folder

PROGRESS_SECONDS = 5.0


class Files(Protocol):
    """The files of a folder or an archive, by path: relative, with slashes, sorted."""

    paths: list[str]
    folders: list[str]

    def read(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of the paths with its content, in whichever order is fastest."""
        ...


ARCHIVES: dict[str, Callable[[Path], Files]] = {".zip": Zip, ".tar": Tar, ".tar.gz": Tar, ".tgz": Tar}


def read(images: Path) -> Iterator[tuple[Example, bytes]]:
    """Yield each image with its label and the content of its file.

    Parameters
    ----------
    images : Path
        A folder, a .zip, .tar, .tar.gz or .tgz of one, or a manifest (.csv) beside its images.

    Raises
    ------
    tasks.errors.RefusedError
        If a label, a split or a file is not what it must be: before anything is read where that shows.
    tasks.errors.TemporaryError
        If a file goes away meanwhile.
    """
    files, inside, examples = _found(images)
    rules.check(examples)
    print(f"download: {_summary(examples)}")
    by_path = {inside + example.file: example for example in examples}
    for path, content in _with_progress(files.read(by_path), len(by_path)):
        yield by_path[path], content


def _found(images: Path) -> tuple[Files, str, list[Example]]:
    """What a slot holds: its files, the folder inside that all examples are in, and these."""
    if images.suffix.lower() == ".csv" and images.is_file():
        print(f"download: DVC watches {images} alone: `dvc repro --force download` after an image has changed")
        examples = manifest.parse(images.read_bytes(), str(images))
        return Folder(images.parent, [example.file for example in examples]), "", examples
    files = _files(images)
    inside = _wrapper(files)
    paths = [path.removeprefix(inside) for path in files.paths if path.startswith(inside)]
    if manifest.NAME not in paths:
        folders = [path.removeprefix(inside) for path in files.folders if path.startswith(inside)]
        return files, inside, class_folders.examples(paths, folders)
    ((_, content),) = files.read([inside + manifest.NAME])
    examples = manifest.parse(content, f"{images}/{inside}{manifest.NAME}")
    there = set(paths)
    missing = [example.file for example in examples if example.file not in there]
    rules.refuse({f"each path of {manifest.NAME} must be a file in {images}": missing})
    return files, inside, examples


def _files(images: Path) -> Files:
    if images.is_dir():
        return Folder.walk(images)
    kind = next((kind for suffix, kind in ARCHIVES.items() if images.name.lower().endswith(suffix)), None)
    if kind and images.is_file():
        return kind(images)
    raise errors.RefusedError(
        f"images must be a folder, a .csv, {', '.join(ARCHIVES)} or a list of checksums (.sha256); received {images}, "
        f"which is {'none of these' if images.exists() else 'not there'}; edit the first lines of dvc.yaml"
    )


def _wrapper(files: Files) -> str:
    """The one folder that holds all others, as many archives have; empty where there is none."""
    tops = {path.partition("/")[0] for path in (*files.folders, *(path for path in files.paths if "/" in path))}
    loose = [path for path in files.paths if "/" not in path and rules.looks_like_image(path)]
    if len(tops) != 1 or loose or manifest.NAME in files.paths:
        return ""
    (top,) = tops
    beside = [path for path in files.paths if path.count("/") == 1 and path.startswith(f"{top}/")]
    if f"{top}/{manifest.NAME}" in beside:
        return f"{top}/"
    holds_folders = any(path.startswith(f"{top}/") for path in files.folders)
    is_split = top.casefold() in rules.SPLITS
    return f"{top}/" if holds_folders and not is_split and not any(map(rules.looks_like_image, beside)) else ""


def _summary(examples: list[Example]) -> str:
    labels = sorted({example.label for example in examples})
    splits = Counter(example.split for example in examples if example.split)
    given = "; given split: " + ", ".join(f"{count:,} {split}" for split, count in sorted(splits.items()))
    return f"{len(examples):,} images of {len(labels):,} classes: {rules.first(labels)}{given if splits else ''}"


def _with_progress(contents: Iterable[tuple[str, bytes]], n: int) -> Iterator[tuple[str, bytes]]:
    said = time.monotonic()
    for number, item in enumerate(contents, 1):
        yield item
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"download: {number:,} of {n:,} images packed")
