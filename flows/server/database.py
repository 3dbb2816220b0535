"""Prefect's SQLite database in a clone: its damage, and its holder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psutil

DATABASE = Path(".prefect/prefect.db")


def find_damage(path: Path) -> str:
    """Explain why SQLite cannot read a database; "" if it can."""
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=0, uri=True)) as database:
            (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return ""  # busy
        result = str(error)
    return "" if result == "ok" else f"is damaged ({' '.join(result.split())})"


def find_holder(path: Path) -> str:
    """Name a process that has a database open; "" if none."""
    for process in psutil.process_iter(["pid", "open_files"]):
        if any(file.path == str(path.resolve()) for file in process.info["open_files"] or ()):
            return f"process {process.info['pid']}, which has it open"
    return ""
