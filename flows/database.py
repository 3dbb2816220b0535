"""Prefect's database in a clone: whether it is sound, and of the installed Prefect."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

DATABASE = Path(".prefect/prefect.db")
COMPANIONS = ("", "-wal", "-shm")  # SQLite's files beside it: without them it is another state
MIGRATIONS = "server/database/_migrations/versions/sqlite"  # in Prefect's package


def fault(path: Path) -> str:
    """Say why the installed Prefect cannot use a database; empty when it can, and for one that is busy or not there."""
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return f"is damaged: {' '.join(found.split())}"
            if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
                return ""
            revisions = {revision for (revision,) in database.execute("SELECT version_num FROM alembic_version")}
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return ""
        return f"cannot be read: {error}"
    except sqlite3.DatabaseError as error:
        return f"is damaged: {error}"
    known = _known_revisions()
    if unknown := revisions - known if known else set():
        return f"was written by a newer Prefect than the installed {version('prefect')} (revision {', '.join(unknown)})"
    return ""


def _known_revisions() -> set[str]:
    """The revisions that the installed Prefect can bring up to date; empty where it keeps them elsewhere."""
    spec = find_spec("prefect")
    places = [Path(place) / MIGRATIONS for place in (spec.submodule_search_locations if spec else None) or ()]
    texts = (file.read_text(encoding="utf-8") for place in places for file in place.glob("*.py"))
    return {match[1] for text in texts if (match := re.search(r'^revision = "(\w+)"', text, re.MULTILINE))}
