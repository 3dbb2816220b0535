"""manifest.csv: what it says is kept, and each way of getting one wrong is a line."""

import re
import unicodedata
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tasks.datasets.packed import Packed
from tasks.download import download
from tests.layouts.conftest import Refused
from tests.support.own_images import photo, photos, write_files, write_zip

PHOTOS = photos(*(f"pictures/{n}.png" for n in range(6)))
ROWS = [f"pictures/{n}.png,{label}" for n, label in enumerate(("rose", "daisy") * 3)]
WHOLE = "\n".join(["path,label", *ROWS]) + "\n"
LONG = "é" * 120 + "x" * 15  # 255 bytes


def with_manifest(folder: Path, text: str | bytes, name: str = "manifest.csv") -> Path:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return write_files(folder, PHOTOS | {name: content})


def rows(raw: Path) -> set[tuple[str, str, str, str]]:
    dataset = Packed(raw)
    labels = [dataset.classes[label] for label in dataset.labels]
    return set(zip(dataset.files, labels, dataset.splits, dataset.groups, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(WHOLE.encode(), id="as it is"),
        pytest.param(b"\xef\xbb\xbf" + WHOLE.encode(), id="a BOM"),
        pytest.param(WHOLE.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(WHOLE.replace("\n", "\n\n").encode(), id="blank lines"),
        pytest.param(WHOLE.replace("pictures/0", "./pictures//0").encode(), id="a path with ./"),
        pytest.param(WHOLE.replace(",rose", ',"rose"').encode(), id="quotes"),
        pytest.param(WHOLE.replace(",", " , ").replace(" rose", '  "rose"').encode(), id="spaces"),
        pytest.param((WHOLE + "\n,\n , \n").encode(), id="empty rows"),
        pytest.param(
            "\n".join(line + ",7" for line in WHOLE.splitlines()).replace("label,7", "label,age").encode(), id="age"
        ),
    ],
)
def test_a_manifest_in_a_folder_wins_over_its_folders(tmp_path: Path, content: bytes) -> None:
    images = write_files(with_manifest(tmp_path / "flowers", content), {"unlabelled/9.png": photo(99)})
    download(images=images, raw=tmp_path / "raw")
    assert rows(tmp_path / "raw") == {(*row.split(","), "", "") for row in ROWS}


def test_a_manifest_may_stand_beside_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = with_manifest(tmp_path / "flowers", WHOLE, "spring.csv") / "spring.csv"
    download(images=table, raw=tmp_path / "raw")
    assert rows(tmp_path / "raw") == {(*row.split(","), "", "") for row in ROWS}
    assert f"download: DVC watches {table} alone: " in capsys.readouterr().out


def test_split_and_group_are_kept_and_other_columns_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ["Train", "train", "val", "training", "test", "testing"]
    given = [f"{row},plant {n},{split},x" for n, (row, split) in enumerate(zip(ROWS, splits, strict=True))]
    images = with_manifest(tmp_path / "flowers", "\n".join(["path,label,group,split,camera", *given]))
    download(images=images, raw=tmp_path / "raw")
    kept = ("train", "train", "validation", "train", "test", "test")
    assert rows(tmp_path / "raw") == {
        (*row.split(","), split, f"plant {n}") for n, (row, split) in enumerate(zip(ROWS, kept, strict=True))
    }
    said = capsys.readouterr().out
    assert "download: ignored columns: camera\n" in said
    assert "given split: 2 test, 3 train, 1 validation\n" in said


@pytest.mark.parametrize("name", ["manifest.csv", "spring.csv"])
def test_what_a_table_leaves_out_or_has_too_much_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    images = with_manifest(tmp_path / "flowers", WHOLE.replace(",", ", ") + ",,\n\n", name)
    write_files(images, photos("pictures/6.png", "pictures/._6.png") | {"pictures/note.txt": b"x"})
    table = images / name
    download(images=images if name == "manifest.csv" else table, raw=tmp_path / "raw")
    said = capsys.readouterr().out
    assert f"download: left out images that are not in {table}: pictures/6.png\n" in said
    assert f"download: removed spaces around fields of {table}, in 7 rows\n" in said
    assert f"download: skipped 2 empty rows of {table}\n" in said


@pytest.mark.parametrize("write", [write_files, write_zip])
def test_a_table_names_files_in_either_unicode_form(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    """macOS writes é as two characters into file systems and zips; tables have one."""
    files = {unicodedata.normalize("NFD", f"é/{path}"): content for path, content in PHOTOS.items()}
    table = WHOLE.replace("pictures", "é/pictures").encode()
    download(images=write(tmp_path / "x.zip", files | {"manifest.csv": table}), raw=tmp_path / "raw")
    assert {row[0] for row in rows(tmp_path / "raw")} == set(files)


def test_labels_of_plus_and_minus_one_are_two_classes(tmp_path: Path) -> None:
    text = WHOLE.replace("rose", "-1").replace("daisy", "1")
    download(images=with_manifest(tmp_path / "flowers", text), raw=tmp_path / "raw")
    assert Packed(tmp_path / "raw").classes == ["-1", "1"]


def test_an_archive_with_a_manifest_in_a_folder(tmp_path: Path) -> None:
    files = {f"flowers/{path}": content for path, content in (PHOTOS | {"manifest.csv": WHOLE.encode()}).items()}
    download(images=write_zip(tmp_path / "flowers.zip", files), raw=tmp_path / "raw")
    assert rows(tmp_path / "raw") == {(*row.split(","), "", "") for row in ROWS}


def test_a_label_may_have_255_bytes(tmp_path: Path) -> None:
    assert len(LONG.encode()) == 255
    download(images=with_manifest(tmp_path / "flowers", WHOLE.replace("rose", LONG)), raw=tmp_path / "raw")
    assert Packed(tmp_path / "raw").classes == ["daisy", LONG]


def replaced(old: str, new: str) -> str:
    assert old in WHOLE
    return WHOLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns path and label, .* lacks path and label; received an empty file"),
        (replaced("label", "class"), "its header lacks label; received path, class"),
        (replaced("label", "label,label"), "a column must be given once; received label"),
        (
            "\n".join(line + "," for line in WHOLE.splitlines()).replace("label,", "label,splits"),
            "splits: is no column; did you mean split",
        ),
        ("path,label\n", "at least 2 classes; received no image"),
        (WHOLE.replace(",", ";"), "separated by commas; received semicolons"),
        (WHOLE.encode("utf-16"), "must be UTF-8; received UTF-16; save it as"),
        (WHOLE.replace("daisy", "marguerite é").encode("latin-1"), "must be UTF-8; received byte 0xe9 in line 3"),
        (WHOLE + "a\x00.png,rose", r"without line breaks or control characters; received 'a\\x00.png'"),
        (replaced(",rose", ',"rose'), "is no CSV: unexpected end of data"),
        (WHOLE + "a,b,c\n" * 20, r"2 fields, as its header; received 3 in line 8, .* and 10 more \(20 in"),
        (WHOLE + ROWS[0], "each file must have one row; received pictures/0.png"),
        (WHOLE + "pictures/7.png,rose", "manifest.csv: each path must be a file beside it; received pictures/7.png"),
        (WHOLE + "../a.png,rose", "stay inside the folder, .*; received ../a.png"),
        (WHOLE + "a\\b.png,rose", r"must be written with / and no \\"),
        (WHOLE + ",rose", "must have a path and a label; received line 8 without"),
        (replaced("rose", ".."), r"a label must be a name .*received \.\.$"),
        (replaced("rose", LONG + "x"), "a label must be a name of at most 255 bytes"),
        (replaced("rose", "ro  se") + "pictures/7.png,ro se", "must be a file beside it"),
        *(
            (WHOLE.replace("rose", label), f"no word for a missing one.* {re.escape(repr(label))} of 3 images")
            for label in ("nan", "NaN", "None", "NULL", "N/A", "<NA>", "?", "-1")
        ),
        (
            "\n".join(f"{line},dev" for line in WHOLE.splitlines()).replace("label,dev", "label,split"),
            "a split must be one of train, training, val, .*; received 'dev' in line 2, ",
        ),
        (
            "path,label,split\n" + "\n".join(f"{row},{'train' if n else ''}" for n, row in enumerate(ROWS)),
            "a split must be given for every image or for none; received pictures/0.png$",
        ),
        ("path,label,group\n" + "\n".join(f'{row},"a\tb"' for row in ROWS), r"a group must be on one line, .*'a\\tb'"),
    ],
    ids=count(),
)
def test_a_wrong_manifest_is_one_line(tmp_path: Path, refused: Refused, text: str | bytes, says: str) -> None:
    line = refused(with_manifest(tmp_path / "flowers", text))
    assert re.search(says, line, re.DOTALL), line


def test_a_manifest_beside_its_images_is_held_to_the_same(tmp_path: Path, refused: Refused) -> None:
    table = with_manifest(tmp_path / "flowers", WHOLE + "pictures,rose", "spring.csv") / "spring.csv"
    assert refused(table) == "an image must be a regular file, and no folder, pipe, socket or device; received pictures"
    table.write_text(WHOLE + "pictures/7.png,rose\nnowhere/0.png,rose\nspring.csv/0.png,rose")
    assert refused(table).endswith("a file beside it; received pictures/7.png, nowhere/0.png, spring.csv/0.png")
    table.write_text(WHOLE + "../spring.png,rose")
    assert "must stay inside the folder" in refused(table)
