"""Compare two Python sources without comments, layout and docstrings.

Their syntax trees are compared, in which `1`, `1.0` and `True` are three constants and the order of statements counts.
Docstrings count in a module that mentions `__doc__`. What Python cannot parse is compared as bytes.
"""

import ast
import copy
import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

Scope: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
NAMED = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def first_difference(before: bytes, after: bytes) -> str:
    """Name the first difference, such as "12: `fit` differs"; "" without any."""
    if before == after:
        return ""
    has_docstrings = b"__doc__" in before + after
    try:
        old, new = (_parse(source, has_docstrings) for source in (before, after))
        return "" if ast.dump(old) == ast.dump(new) else _locate(old, new)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also a digit too many, and too deep a nesting
        return f"{_first(before.splitlines(keepends=True), after.splitlines(keepends=True)) + 1}: its text differs"


def _parse(source: bytes, has_docstrings: bool) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape that Python does not know
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"" is ""
        elif not has_docstrings and isinstance(node, Scope) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] or isinstance(node, ast.Module) else [ast.Pass(lineno=node.lineno)]
    return tree


def _locate(before: Scope, after: Scope, path: str = "") -> str:
    """Find the first difference of two bodies, as deep as possible."""
    old, new = ([ast.dump(statement) for statement in scope.body] for scope in (before, after))
    n = _first(old, new)
    is_gone, is_new = n < len(old) and old[n] not in new, n < len(new) and new[n] not in old
    if is_gone and is_new:
        was, now = before.body[n], after.body[n]
        if isinstance(was, NAMED) and isinstance(now, NAMED) and _head(was) == _head(now):
            return _locate(was, now, f"{path}{now.name}.")
        return f"{now.lineno}: {_name(now, path)} differs"
    if is_gone or n == len(new):
        line = after.body[n].lineno if n < len(new) else max((node.end_lineno or 1 for node in after.body), default=1)
        return f"{line}: {_name(before.body[n], path)} is gone"
    return f"{after.body[n].lineno}: {_name(after.body[n], path)} {'is new' if is_new else 'has moved'}"


def _head(node: ast.stmt) -> str:
    head = copy.copy(node)
    head.body = []  # type: ignore[attr-defined]
    return ast.dump(head)


def _name(statement: ast.stmt, path: str) -> str:
    if isinstance(statement, NAMED):
        return f"`{path}{statement.name}`"
    text = ast.unparse(statement).splitlines()[0][:60]
    return f"`{text}` in `{path[:-1]}`" if path else f"`{text}`"


def _first(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return the number of the first entry that differs."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((n for n, (was, now) in pairs if was != now), min(len(old), len(new)))
