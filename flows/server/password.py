"""The password of a lasting server, kept in `.prefect/password`.

Other users see command lines, shells keep a history, and output ends in logs: no command takes or prints the password.
"""

import secrets
from pathlib import Path

import httpx

FILE = Path(".prefect/password")
VARIABLE = "PREFECT_API_AUTH_STRING"  # Prefect's own, which takes precedence over the file


def load_or_create_password() -> str:
    """Return this clone's password, and make one if there is none."""
    password = load_password() or f"study:{secrets.token_urlsafe(24)}"
    FILE.parent.mkdir(exist_ok=True)
    write_private(FILE, f"{password}\n")  # a copied file may have been readable by others
    return password


def load_password() -> str:
    """Return this clone's password; "" if there is none."""
    return FILE.read_text(encoding="utf-8").strip() if FILE.exists() else ""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user can ever read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def basic(text: str) -> httpx.BasicAuth:
    """Return the authorization of a request from `user:password`."""
    user, _, password = text.partition(":")
    return httpx.BasicAuth(user, password)
