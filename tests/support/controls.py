"""Protections that are marked in the source, and the source without one of them.

A protection has a comment at the end of its line or above it, such as `# control: bomb`; a comment may name several.
Without it, the innermost statement there does nothing: a condition or a lock no longer holds, a handler catches
nothing, any other statement is left out. Where that does not fit, the control says what replaces the statement.
"""

import ast
import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.support.import_graph import PACKAGES

MARKER = re.compile(r"# control: (.+)")
Instead = str | tuple[str, str] | None


def marked(root: Path) -> Iterator[tuple[str, Path]]:
    """List each protection that is marked, with its file."""
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        for marker in MARKER.finditer(file.read_text(encoding="utf-8")):
            yield from ((name, file) for name in _names(marker))


def without(code: str, name: str, instead: Instead = None) -> str:
    """Take a protection out of a text of Python.

    Parameters
    ----------
    instead : str or tuple of str, optional
        Replaces the statement's condition, or the value that it assigns or returns, or all of it. Two texts are a
        pattern within the statement and its replacement.
    """
    lines = code.splitlines()
    (line,) = (n for n, text in enumerate(lines, 1) if (marker := MARKER.search(text)) and name in _names(marker))
    line += lines[line - 1].lstrip().startswith("#")  # the comment stands above it
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.stmt | ast.ExceptHandler)]
    statement = max((node for node in nodes if node.lineno <= line <= _last_line(node)), key=lambda node: node.lineno)
    if isinstance(instead, tuple):
        start, end = _extent(code, statement)
        end = _extent(code, statement.body[0])[0] if hasattr(statement, "body") else end
        text = code.encode()[start:end].decode()
        replacement, n = re.subn(*instead, text)
        assert n == 1, f"{name}: {instead[0]} must be found once; received {n} in {text}"
    else:
        part, default = _expression(statement)
        replacement = instead or default
        start, end = _extent(code, statement if replacement == "pass" else part)
    content = code.encode()
    return (content[:start] + replacement.encode() + content[end:]).decode()


def _names(marker: re.Match[str]) -> list[str]:
    return [name.strip() for name in marker[1].split(",")]


def _last_line(node: ast.stmt | ast.ExceptHandler) -> int:
    """Find the last line of a statement, without the block that it opens."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno


def _expression(node: ast.stmt | ast.ExceptHandler) -> tuple[ast.AST, str]:
    """Find the part of a statement that can be replaced, and its replacement by default."""
    match node:
        case ast.If():
            return node.test, "False"
        case ast.While():
            return node.test, "True"
        case ast.With():
            return node.items[0].context_expr, '__import__("contextlib").nullcontext()'
        case ast.ExceptHandler(type=ast.expr() as kinds):
            return kinds, "()"
        case ast.Return(value=ast.expr() as value) | ast.Assign(value=value):
            return value, "pass"  # all of it
        case _:
            return node, "pass"


def _extent(code: str, node: Any) -> tuple[int, int]:
    """Find the first and last byte of a node."""
    starts = list(accumulate(map(len, code.encode().splitlines(keepends=True)), initial=0))
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
