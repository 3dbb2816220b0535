"""MD5 of files, hashes of texts, and lists of checksums (`sha256sum`)."""

import hashlib
import re
from pathlib import Path

from tasks import errors

LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def compute_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def hash_text(text: str) -> int:
    """Hash a text to the first 8 bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def read_checksums(path: Path) -> dict[str, str]:
    """Read the SHA-256 of each file by its name."""
    restore = f"`git checkout {path}`"
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise errors.RefusedError(f"{path} must be a list of checksums; received no file; {restore}") from error
    checksums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        parts = LINE.fullmatch(line)
        if parts is None or parts[2] in checksums:
            rule = "must be a SHA-256, two spaces and the name of a file, each name once"
            raise errors.RefusedError(f"{path}: line {number}: {rule}; received {line[:100]!r}; {restore}")
        checksums[parts[2]] = parts[1]
    return checksums
