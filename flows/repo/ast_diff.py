"""Compare two Python sources without comments, layout and docstrings.

Their syntax trees are compared. So a line may be wrapped, and a string quoted in another way; names, decorators,
defaults, annotations, the types of constants (`1`, `1.0` and `True` are three) and the order of statements count. A
source is decoded as its encoding cookie says.

Docstrings count in a module that mentions `__doc__`, such as a program that prints its own. What Python cannot parse
is compared as bytes.
"""

import ast
import copy
import warnings
from typing import NamedTuple, TypeAlias

Scope: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
NAMED = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


class Difference(NamedTuple):
    """The first difference of two sources."""

    what: str  # such as "`fit` differs"
    line: int  # in the second source


def first_difference(before: bytes, after: bytes) -> Difference | None:
    """Find the first difference of two sources; None for the same code."""
    if before == after:
        return None
    has_docstrings = b"__doc__" in before + after
    try:
        old, new = (_parse(source, has_docstrings) for source in (before, after))
        return None if ast.dump(old) == ast.dump(new) else _locate(old, new)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also a digit too many, and too deep a nesting
        return _first_line(before, after)


def _parse(source: bytes, has_docstrings: bool) -> ast.Module:
    """Parse a source without what changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape that Python does not know
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"" is ""
        elif not has_docstrings and isinstance(node, Scope) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] or isinstance(node, ast.Module) else [ast.Pass(lineno=node.lineno)]
    return tree


def _locate(before: Scope, after: Scope, path: str = "") -> Difference:
    """Find the first difference of two bodies, as deep as possible."""
    old, new = ([ast.dump(statement) for statement in scope.body] for scope in (before, after))
    pairs = enumerate(zip(old, new, strict=False))
    n = next((n for n, (was, now) in pairs if was != now), min(len(old), len(new)))
    is_gone, is_new = n < len(old) and old[n] not in new, n < len(new) and new[n] not in old
    if is_gone and is_new:
        was, now = before.body[n], after.body[n]
        if isinstance(was, NAMED) and isinstance(now, NAMED) and _head(was) == _head(now):
            return _locate(was, now, f"{path}{now.name}.")
        return Difference(f"{_name(now, path)} differs", now.lineno)
    if is_gone or n == len(new):
        line = after.body[n].lineno if n < len(new) else max((node.end_lineno or 1 for node in after.body), default=1)
        return Difference(f"{_name(before.body[n], path)} is gone", line)
    return Difference(f"{_name(after.body[n], path)} {'is new' if is_new else 'has moved'}", after.body[n].lineno)


def _head(node: ast.stmt) -> str:
    """Dump a function or class without its body."""
    head = copy.copy(node)
    head.body = []  # type: ignore[attr-defined]
    return ast.dump(head)


def _name(statement: ast.stmt, path: str) -> str:
    """Label a statement by its dotted name or its source text."""
    if isinstance(statement, NAMED):
        return f"`{path}{statement.name}`"
    text = ast.unparse(statement).splitlines()[0][:60]
    return f"`{text}` in `{path[:-1]}`" if path else f"`{text}`"


def _first_line(before: bytes, after: bytes) -> Difference:
    old, new = (source.splitlines(keepends=True) for source in (before, after))
    same = (was == now for was, now in zip(old, new, strict=False))
    return Difference("its text differs", next((n for n, equal in enumerate(same) if not equal), len(old)) + 1)
