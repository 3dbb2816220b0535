"""Files that are no files, or not for long."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.datasets import packed
from tasks.download import download
from tasks.errors import TemporaryError
from tasks.layouts import rules
from tests.layouts.conftest import Refused
from tests.support.own_images import FLOWERS, write_files

Spoil = Callable[[Path], object]


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return write_files(tmp_path / "flowers", FLOWERS)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 100 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(rules.MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("rose/pipe.png", os.mkfifo, "a regular file, and no folder, pipe, .*; received rose/pipe.png"),
        ("rose/socket.png", a_socket, "a regular file, and no folder, pipe, .*; received rose/socket.png"),
        ("rose/null.png", lambda path: path.symlink_to("/dev/null"), "a regular file, .*; received rose/null.png"),
        ("rose/gone.png", lambda path: path.symlink_to("nowhere"), "must exist, .*; received rose/gone.png"),
        ("rose/loop.png", lambda path: path.symlink_to("loop.png"), "must exist, .*; received rose/loop.png"),
        ("rose/again", lambda path: path.symlink_to(".."), "a folder inside must be no link, .*; received rose/again"),
        ("lily", lambda path: path.symlink_to("rose"), "a folder inside must be no link, .*; received lily"),
        ("rose/large.png", sparse, "an image must have at most 536,870,912 bytes; received rose/large.png"),
    ],
)
def test_what_is_no_file_of_an_image_is_refused_by_name(
    flowers: Path, refused: Refused, name: str, spoil: Spoil, says: str
) -> None:
    spoil(flowers / name)
    line = refused(flowers)
    assert re.search(says, line), line


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED: root may read everything")
def test_what_cannot_be_read_is_refused_by_name(flowers: Path, refused: Refused) -> None:
    (flowers / "rose/0.png").chmod(0)
    assert refused(flowers) == "an image must be readable; received rose/0.png"


@pytest.mark.parametrize("target", [None, "images", "nowhere"])
def test_a_slot_that_leads_nowhere_says_where_it_is_written(
    tmp_path: Path, refused: Refused, target: str | None
) -> None:
    images = tmp_path / "images"
    if target:
        images.symlink_to(target)
    line = refused(images)
    assert line.startswith("images must be a folder, a .csv, .zip, .tar, .tar.gz, .tgz or a list of checksums ")
    assert line.endswith("which is not there; edit the first lines of dvc.yaml")
    (tmp_path / "images.rar").write_bytes(b"Rar!")
    assert "images.rar, which is none of these" in refused(tmp_path / "images.rar")


def test_a_file_that_goes_away_meanwhile_may_pass_on_a_retry(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = rules.check_examples

    def check_and_remove(examples: list[packed.Example]) -> None:
        check(examples)
        (flowers / "rose/3.png").unlink()

    monkeypatch.setattr(rules, "check_examples", check_and_remove)
    with pytest.raises(TemporaryError, match=r"rose/3.png was removed while the images were read; `dvc repro`"):
        download(images=flowers, raw=tmp_path / "raw")
    assert {path.name for path in tmp_path.iterdir()} == {"flowers"}
