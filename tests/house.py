"""The project's import graph, read from its source: what test_house.py holds the rules against."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("flows", "tasks")


def imports(file: Path, root: Path) -> set[Path]:
    """The project files that a file needs directly: modules, each with the packages that hold it, and templates."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return {file.with_name(name) for name in re.findall(r'{% extends "(.+?)" %}', text)}
    found = {file.with_name(name) for name in re.findall(r'"(\w+\.html)"', text)} & set(file.parent.iterdir())
    for module in _imported_modules(file):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            found |= {named for n in range(1, len(parts) + 1) if (named := _file(root, parts[:n]))}
    return found - {file}


def closure(file: Path, root: Path) -> set[Path]:
    """All project files that a file imports, directly or not, and itself."""
    found, todo = set(), [file, *_packages_of(file, root)]
    while todo:
        if (current := todo.pop()) not in found:
            found.add(current)
            todo.extend(imports(current, root))
    return found


def third_party(file: Path) -> set[str]:
    """The top-level names of the packages outside the project that a file imports."""
    return {module.split(".")[0] for module in _imported_modules(file)} - set(PACKAGES)


def _imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(root: Path, parts: list[str]) -> Path | None:
    module = root.joinpath(*parts)
    candidates = (module / "__init__.py", module.with_suffix(".py"))
    return next((file for file in candidates if file.exists()), None)


def _packages_of(file: Path, root: Path) -> list[Path]:
    parts = file.relative_to(root).parts[:-1]
    return [init for n in range(1, len(parts) + 1) if (init := root.joinpath(*parts[:n], "__init__.py")).exists()]
