"""Own images: a folder, an archive or a manifest, to labelled files.

A folder for each class; or `train`, `validation` and `test` with these in each; or `manifest.csv`, which wins over
folders. What could mean two things is refused by name, all cases at once: no label and no split is guessed.
An archive is read as a stream and never unpacked. Nothing is written into the user's folder.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import class_folders, manifest, rules
from tasks.layouts.archived import SUFFIXES, Archive
from tasks.layouts.folder import Folder

Files = Folder | Archive


def read_examples(images: Path) -> Iterator[tuple[Example, bytes]]:
    """Yield each image with its label and the content of its file.

    `images` is a folder, an archive of one, or a manifest (.csv) beside its images. What breaks a rule is refused
    before any image is read, where that shows.
    """
    files, outer, examples = find_examples(images)
    print(f"download: {_summary(examples)}")
    by_path = {outer + example.file: example for example in examples}
    contents = files.read(by_path)
    for path, content in tqdm(contents, "download", len(by_path), unit=" images", mininterval=5, delay=5):
        yield by_path[path], content


def find_examples(images: Path) -> tuple[Files, str, list[Example]]:
    """Find the files, the folder around all examples, and these; check them."""
    files, outer, examples = _find_examples(images)
    rules.check_examples(examples)
    if left := sorted(files.left, key=lambda path: (not rules.UNFINISHED.match(Path(path).name), path)):
        print(f"download: passed over unfinished downloads and what systems leave behind: {rules.shorten(left)}")
    composed = ((example, unicodedata.normalize("NFC", example.label)) for example in examples)  # macOS writes e and ´
    return files, outer, [example._replace(label=label) for example, label in composed]


def _find_examples(images: Path) -> tuple[Files, str, list[Example]]:
    if images.suffix.lower() == ".csv" and images.is_file():
        print(f"download: DVC watches {images} alone: `dvc repro --force download` after an image has changed")
        examples = manifest.parse_manifest(images.read_bytes(), str(images))
        named = {Path(example.file).parent for example in examples if (images.parent / example.file).parent.is_dir()}
        paths = [(folder / path.name).as_posix() for folder in named for path in (images.parent / folder).iterdir()]
        examples = manifest.match_files(examples, paths, str(images))
        return Folder(images.parent, [example.file for example in examples]), "", examples
    files = _open_files(images)
    outer = ""
    while inner := class_folders.only_folder(outer, files.paths, files.folders):
        if class_folders.splits_of(Path(inner).name):
            break
        outer = inner
    paths, folders = (
        [path.removeprefix(outer) for path in found if path.startswith(outer)] for found in (files.paths, files.folders)
    )
    if rules.MANIFEST not in paths:
        return files, outer, class_folders.label_files(paths, folders)
    ((_, content),) = files.read([outer + rules.MANIFEST])
    where = f"{images}/{outer}{rules.MANIFEST}"
    return files, outer, manifest.match_files(manifest.parse_manifest(content, where), paths, where)


def _open_files(images: Path) -> Files:
    if images.is_dir():
        return Folder.walk(images)
    if images.is_file() and images.name.lower().endswith(SUFFIXES):
        return Archive(images)
    raise errors.RefusedError(
        f"images must be a folder, a .csv, {', '.join(SUFFIXES)} or a list of checksums (.sha256); received {images}, "
        f"which is {'none of these' if images.exists() else 'not there'}; edit the first lines of dvc.yaml"
    )


def _summary(examples: list[Example]) -> str:
    labels = sorted({example.label for example in examples})
    splits = Counter(example.split for example in examples if example.split)
    given = "; given split: " + ", ".join(f"{count:,} {split}" for split, count in sorted(splits.items()))
    return f"{len(examples):,} images of {len(labels):,} classes: {rules.shorten(labels)}{given if splits else ''}"
