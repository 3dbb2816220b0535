"""Prefect's database in a clone: whether it is sound, which Prefect wrote it, and who has it open."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil

DATABASE = Path(".prefect/prefect.db")
MIGRATIONS = "server/database/_migrations/versions/sqlite"  # in Prefect's package


def fault(path: Path) -> str:
    """Say why the installed Prefect cannot use a database; empty for one that is sound, busy or not there."""
    if not path.exists():
        return ""
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError as error:
        return f"cannot be opened: {error}"
    with closing(database):
        try:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                return ""
            found = str(error)
        writer = _writer(_revision(database))
    if found != "ok":
        return f"is damaged ({' '.join(found.split())}), written by {writer}"
    return f"was written by {writer}" if writer.startswith("a newer") else ""


def holder(path: Path) -> str:
    """Name a process that has a database open; empty when nobody has."""
    for process in psutil.process_iter(["pid", "open_files"]):
        if any(file.path == str(path.resolve()) for file in process.info["open_files"] or ()):
            return f"process {process.info['pid']}, which has it open"
    return ""


def _revision(database: sqlite3.Connection) -> str:
    """The version of the tables, as Prefect's migrations name it; empty where it cannot be read."""
    with suppress(sqlite3.DatabaseError):
        for (revision,) in database.execute("SELECT version_num FROM alembic_version"):
            return str(revision)
    return ""


def _writer(revision: str) -> str:
    """Which Prefect left tables of this version; the installed one brings those of older ones up to date."""
    installed = version("prefect")
    spec = find_spec("prefect")
    places = [Path(place) / MIGRATIONS for place in (spec.submodule_search_locations if spec else None) or ()]
    texts = [file.read_text(encoding="utf-8") for place in places for file in place.glob("*.py")]
    known, followed = (
        {match[1] for text in texts if (match := re.search(rf'^{name} = "(\w+)"', text, re.MULTILINE))}
        for name in ("revision", "down_revision")
    )
    if not revision or not known:
        return "an unknown Prefect"
    if revision not in known:
        return f"a newer Prefect than the installed {installed} (revision {revision})"
    return f"an older Prefect than the installed {installed}" if revision in followed else f"Prefect {installed}"
