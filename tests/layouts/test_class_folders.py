"""Folders of classes and of splits: what is meant is read, and what could be meant in two ways is refused."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tasks.datasets.packed import Packed
from tasks.download import download
from tests.layouts.conftest import Refused, seen
from tests.support.own_images import FLOWERS, GIVEN, photo, photos, write_files


def packed(images: Path, inside: str = "") -> dict[str, tuple[str, str]]:
    """The label and the split of each file, once the contents were found to be those of the files."""
    raw = images.parent / "raw"
    download(images=images, raw=raw)
    dataset = Packed(raw)
    for row, content in dataset.reader(range(len(dataset.files)))():
        assert (images / inside / dataset.files[row]).read_bytes() == content
    labels = [dataset.classes[label] for label in dataset.labels]
    return dict(zip(dataset.files, zip(labels, dataset.splits, strict=True), strict=True))


def test_a_folder_is_a_class_and_only_images_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = {
        ".DS_Store": b"x",
        "rose/Thumbs.db": b"x",
        "__MACOSX/rose/._0.png": b"x",
        "daisy/desktop.ini": b"x",
        ".git/a/b": b"x",
        "LICENSE": b"free",
    }
    images = write_files(tmp_path / "flowers", FLOWERS | left)
    before = seen(images)
    found = packed(images)
    assert found == {path: (path.split("/")[0], "") for path in FLOWERS}
    assert seen(images) == before
    said = capsys.readouterr().out
    assert "download: skipped files beside the folders of classes: LICENSE\n" in said
    assert "download: 12 images of 2 classes: daisy, rose\n" in said


def test_folders_inside_a_class_belong_to_it_and_one_around_all_is_passed_through(tmp_path: Path) -> None:
    files = FLOWERS | {'rose/2019/a, "b" ü.png': photo(99)}
    images = write_files(tmp_path / "slot", {f"flowers/{path}": content for path, content in files.items()})
    write_files(images, {"README.txt": b"flowers"})
    assert packed(images, "flowers") == {path: (path.split("/")[0], "") for path in files}


def test_a_linked_folder_and_linked_files_are_read(tmp_path: Path) -> None:
    write_files(tmp_path / "flowers", FLOWERS)
    (tmp_path / "elsewhere.png").write_bytes(photo(99))
    (tmp_path / "flowers/rose/linked.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "images").symlink_to("flowers")
    assert packed(tmp_path / "images")["rose/linked.png"] == ("rose", "")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "valid", "TESTING"),
        ("train", "", "test"),
        ("seg_train/seg_train", "", "seg_test/seg_test"),
        ("training_set/training_set", "", "test_set/test_set"),
        ("TrainSet", "ValSet", "TestSet"),
        ("train-images", "valset", "testdata"),
        ("train2017", "val2017", "test2017"),
        ("flowers_train", "flowers validation", "flowers_test"),
        ("train/flowers/v2", "val/flowers/v2", "test/flowers/v2"),
        ("imagenet/train", "imagenet/val", "imagenet/test"),
        ("a/b/train", "a/b/val", "a/b/test"),
    ],
)
def test_a_given_split_is_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    named = dict(zip(("train", "val", "test"), names, strict=True))
    files = {
        f"{named[split]}/{rest}": content for path, content in GIVEN.items() for split, _, rest in [path.partition("/")]
    }
    images = write_files(tmp_path / "flowers", {path: content for path, content in files.items() if path[0] != "/"})
    inside = "imagenet" if "imagenet/train" in names else "a/b" if "a/b/train" in names else ""
    found = Counter(packed(images, inside).values())
    counts = {"train": 4, "validation": 2 if names[1] else 0, "test": 2}
    assert found == {(label, split): n for split, n in counts.items() for label in ("rose", "daisy") if n}


def test_what_has_no_label_beside_splits_is_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"seg_{path}": content for path, content in GIVEN.items()} | photos("seg_pred/seg_pred/0.png")
    assert len(packed(write_files(tmp_path / "intel", files))) == len(GIVEN)
    assert "download: skipped images without a label: seg_pred/seg_pred/0.png\n" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("bullet_train", "car"), ("prediction", "truth"), ("rose set", "set"), ("1", "2")])
def test_a_class_may_have_a_word_of_a_splits_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    images = write_files(tmp_path / "x", photos(*(f"{name}/{n}.png" for name in names for n in range(2))))
    assert {label for label, _ in packed(images).values()} == set(names)


def renamed(**names: str) -> dict[str, bytes]:
    return {"/".join([names[path.split("/")[0]], *path.split("/")[1:]]): content for path, content in GIVEN.items()}


def test_a_class_that_test_lacks_is_named_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_files(tmp_path / "flowers", GIVEN | photos("train/lily/0.png", "train/lily/1.png"))
    (images / "test/lily").mkdir()
    assert ("lily", "train") in packed(images).values()
    said = capsys.readouterr().out
    assert "download: warning: validation has no image of lily: " in said
    assert "download: warning: test has no image of lily: " in said


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "images must have a folder for each class, with its images; received none"),
        (photos("flowers/rose/0.png", "flowers/daisy/0.png", "0.png"), "beside these; received 0.png"),
        (photos("a.png", "b.jpg"), "images must be in the folder of a class, .*; received a.png, b.jpg"),
        (
            photos(*(f"{n}.JPG" for n in range(40)), "rose/0.png", "daisy/0.png"),
            r"none beside these; received 0.JPG, 1.JPG, 10.JPG, .* and 30 more \(40 in all\)$",
        ),
        (photos("rose/0.png", "rose/1.png"), "images of at least 2 classes; received rose$"),
        (FLOWERS | photos("lily/0.png"), "a class must have at least 2 images, .*; received lily$"),
        (FLOWERS | {"lily/.keep": b""}, "folder of a class must hold images; .*received lily$"),
        (
            FLOWERS | photos("Rose/0.png", "Rose/1.png"),
            "labels must differ in more than case, spaces or Unicode form; received 'Rose' and 'rose'$",
        ),
        (
            photos("caf\u00e9/0.png", "caf\u00e9/1.png", "cafe\u0301/0.png", "cafe\u0301/1.png"),
            "labels must differ in more than case, spaces or Unicode form",
        ),
        (FLOWERS | photos("ro\nse/0.png"), r"path must be UTF-8 without line breaks .*received 'ro\\nse"),
        (FLOWERS | photos("\udcff/0.png"), r"a path must be UTF-8 .*received '\\udcff"),
        (FLOWERS | photos("a..b/0.png", "a..b/1.png"), "a label must be a name .*received a..b$"),
        (FLOWERS | photos(" /0.png", " /1.png"), "a label must be a name of at most 255 bytes"),
        (
            FLOWERS | photos("train/0.png", "train/1.png"),
            "folders must be train, .* or classes; received train beside daisy, rose; rename them, or write a manifest",
        ),
        (GIVEN | photos("training/rose/9.png"), "a split must be one folder .*received train, training$"),
        (renamed(train="train", val="dev", test="eval"), "test, or classes; received train beside dev, eval; "),
        (renamed(train="trainval", val="val", test="holdout"), "or classes; received val beside holdout, trainval; "),
        (renamed(train="trainA", val="trainB", test="testA"), "or classes; received testA, trainA, trainB; ren"),
        (GIVEN | photos("Meta/0.png"), "or classes; received test, train, val beside Meta; rename them"),
        (
            photos(*(f"{label}/{split}/0.png" for label in ("rose", "daisy") for split in ("train", "test"))),
            "splits must hold the classes, and not be inside of them .*; received daisy/test, daisy/train, rose/test,",
        ),
        (photos("nan/0.png", "nan/1.png", "a/0.png", "a/1.png"), "no word for a missing one.*; received 'nan' of 2 im"),
        (GIVEN | photos("train/9.png"), "none beside these; received train/9.png"),
        (
            {path: content for path, content in GIVEN.items() if not path.startswith("train/daisy")},
            "train must have images of every class, .*; received daisy$",
        ),
        (
            {path: content for path, content in GIVEN.items() if not path.startswith("test/")},
            "must have images for train and for test; received train, validation only",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_clear_is_refused_by_name(
    tmp_path: Path, refused: Refused, files: dict[str, bytes], says: str
) -> None:
    (tmp_path / "flowers").mkdir()
    line = refused(write_files(tmp_path / "flowers", files))
    assert re.search(says, line), line
