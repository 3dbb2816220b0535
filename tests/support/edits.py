"""Edits of a clone's files, for tables of what they make due."""

from collections.abc import Callable
from pathlib import Path

from tests.support.clone import Clone

Edit = Callable[[Clone], None]


def substitute(file: Path, old: str, new: str, encoding: str = "utf-8") -> None:
    """Replace the first occurrence of a text, which must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{file} must have {old!r}"
    file.write_text(text.replace(old, new, 1), encoding=encoding, newline="")


def replaced(path: str, old: str, new: str, encoding: str = "utf-8") -> Edit:
    return lambda clone: substitute(clone.path / path, old, new, encoding)


def added(path: str, text: str) -> Edit:
    def edit(clone: Clone) -> None:
        with (clone.path / path).open("a", encoding="utf-8") as file:
            file.write(text)

    return edit


def deleted(path: str) -> Edit:
    return lambda clone: (clone.path / path).unlink()


def both(*edits: Edit) -> Edit:
    def edit(clone: Clone) -> None:
        for each in edits:
            each(clone)

    return edit
