"""The password of a lasting server: kept in `.prefect/password`, which only its user can read.

A file is what leaks least: other users see a command line in the list of processes, a shell keeps its history, and
what a program prints ends in a log. So no command takes the password, and none prints it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import httpx

FILE = Path(".prefect/password")
VARIABLE = "PREFECT_API_AUTH_STRING"  # Prefect's own, which goes before the file: a cluster's store of secrets sets it


def keep() -> str:
    """Read this clone's password; make one where there is none."""
    found = read() or f"study:{secrets.token_urlsafe(24)}"
    write_private(FILE, f"{found}\n")  # also where it was copied with a mode that lets others read it
    return found


def read() -> str:
    """Read this clone's password; empty where there is none."""
    return FILE.read_text(encoding="utf-8").strip() if FILE.exists() else ""


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, not even while it is written."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def basic(text: str) -> httpx.BasicAuth:
    """The header of a request, from `user:password`."""
    user, _, password = text.partition(":")
    return httpx.BasicAuth(user, password)
