"""Edits of a clone's files, for tables of what they make due."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.clone import Clone

Edit = Callable[[Clone], None]


def replaced(path: str, old: str, new: str, encoding: str = "utf-8") -> Edit:
    """Another text at the first place where a file has this one."""

    def edit(clone: Clone) -> None:
        text = (clone.path / path).read_text(encoding="utf-8")
        assert old in text, f"{old!r} in {path}"
        (clone.path / path).write_text(text.replace(old, new, 1), encoding=encoding, newline="")

    return edit


def added(path: str, text: str) -> Edit:
    def edit(clone: Clone) -> None:
        with (clone.path / path).open("a", encoding="utf-8") as file:
            file.write(text)

    return edit
