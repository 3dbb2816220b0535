"""Damage of Prefect's database, and its holder."""

import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.repo.repair import FOLDER
from flows.server import database
from tests.support.clone import Clone


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE log (message TEXT)")
        connection.executemany("INSERT INTO log VALUES (?)", [("x" * 100,)] * 2000)
        connection.commit()
    return path


def garble(content: bytes) -> bytes:
    return b"\x00garbage" * 1000


def overwrite_pages(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(40_000) + content[middle + 40_000 :]


@pytest.mark.parametrize("damage", [garble, overwrite_pages])
def test_a_damaged_database_is_told_from_a_sound_one(sound: Path, damage: Callable[[bytes], bytes]) -> None:
    assert database.find_damage(sound) == ""
    sound.write_bytes(damage(sound.read_bytes()))
    assert database.find_damage(sound).startswith("is damaged (")


def test_a_busy_an_empty_and_a_missing_database_are_not_damaged(sound: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sound)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert database.find_damage(sound) == ""
        assert database.find_holder(sound).startswith("process ")
    assert database.find_damage(tmp_path / "missing.db") == ""
    (tmp_path / "empty.db").touch()
    assert database.find_damage(tmp_path / "empty.db") == ""


def test_the_doctor_sets_a_damaged_database_aside(clone: Clone) -> None:
    file = clone.path / database.DATABASE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(garble(b""))
    file.with_name("prefect.db-wal").write_bytes(b"of the same moment")
    assert f"{database.DATABASE}: is damaged" in clone.run(sys.executable, "-m", "flows.doctor")
    (aside,) = (clone.path / FOLDER).glob(f"*/{database.DATABASE}")
    assert aside.read_bytes() == garble(b"")
    assert aside.with_name("prefect.db-wal").read_bytes() == b"of the same moment"
    assert not list(file.parent.glob("prefect.db*"))
    shutil.rmtree(clone.path / FOLDER)
