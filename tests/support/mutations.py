"""Random edits that change what a source does, each at one place."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

OPERATORS = ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr
COMPARISONS = ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn
DEFINITIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef


class Mutation(NamedTuple):
    kind: str
    within: str  # the outermost function or class; empty in the module itself
    source: bytes


def mutation(source: bytes, seed: int) -> Mutation:
    """The source with one mutation, without comments and in another layout."""
    chosen = random.Random(seed)
    tree = ast.parse(source)
    places = [place for definition in tree.body for place in _places(definition)]
    kind = chosen.choice(sorted({kind for kind, _, _ in places}))
    _, within, mutate = chosen.choice([place for place in places if place[0] == kind])
    mutate(chosen)
    return Mutation(kind, within, ast.unparse(ast.fix_missing_locations(tree)).encode())


Mutate = Callable[[random.Random], object]


def _places(top: ast.stmt) -> Iterator[tuple[str, str, Mutate]]:
    """Yield each place that can be mutated: kind, function, mutation."""
    within = top.name if isinstance(top, DEFINITIONS) else ""
    texts = {id(node) for node in _texts(top)}
    for node in ast.walk(top):
        for kind, mutate in _mutations(node, texts):
            yield kind, within, mutate


def _texts(top: ast.stmt) -> Iterator[ast.AST]:
    """Yield texts that are no values: docstrings, and parts of f-strings."""
    for node in ast.walk(top):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield from (node, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield from node.values


def _mutations(node: ast.AST, texts: set[int]) -> Iterator[tuple[str, Mutate]]:
    match node:
        case ast.BinOp() | ast.AugAssign():
            yield "operator", lambda chosen: _set(node, "op", _other(chosen, OPERATORS, type(node.op))())
        case ast.Compare():
            yield "comparison", lambda chosen: _set(node.ops, 0, _other(chosen, COMPARISONS, type(node.ops[0]))())
        case ast.BoolOp():
            yield "and or", lambda chosen: _set(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.Constant(value=bool() | int() | float() | str() | bytes()) if id(node) not in texts:
            yield "constant", lambda chosen: _set(node, "value", _other_constant(chosen, node.value))
        case ast.Name(ctx=ast.Load()):
            yield "name", lambda chosen: _set(node, "id", node.id + "_")
        case ast.Attribute():
            yield "attribute", lambda chosen: _set(node, "attr", node.attr + "_")
        case ast.Call() if _differ(node.args):
            yield "argument order", lambda chosen: _swap(node.args, chosen)
        case ast.arg(annotation=ast.expr()):
            yield "annotation", lambda chosen: _set(node, "annotation", None)
        case ast.keyword(arg=str()):
            yield "keyword", lambda chosen: _set(node, "arg", f"{node.arg}_")
        case ast.Return(value=ast.expr()):
            yield "return", lambda chosen: _set(node, "value", ast.Constant(None if not _is_none(node.value) else 0))
        case ast.If() | ast.While() | ast.IfExp():
            yield "condition", lambda chosen: _set(node, "test", ast.UnaryOp(ast.Not(), node.test))
    body = getattr(node, "body", None)
    if isinstance(body, list) and _differ(code := [one for one in body if id(one) not in texts]):
        yield "swapped statements", lambda chosen: _set(node, "body", _swap(code, chosen))


def _set(place: Any, key: Any, value: Any) -> None:
    if isinstance(place, list):
        place[key] = value
    else:
        setattr(place, key, value)


def _other(chosen: random.Random, kinds: tuple[type, ...], now: type) -> Any:
    return chosen.choice([kind for kind in kinds if kind is not now])


def _other_constant(chosen: random.Random, value: Any) -> Any:
    """Another value, or the same in another type."""
    match value:
        case bool():
            return chosen.choice([not value, int(value)])
        case int():
            return chosen.choice([value + 1, float(value)])
        case float():
            return chosen.choice([value + 0.5, value * 1.0000001 or 1e-7])
        case str():
            return chosen.choice([f"{value} ", value.encode()])
        case _:
            return value + b" "


def _differ(nodes: list[Any]) -> bool:
    return len({ast.dump(node) for node in nodes}) > 1


def _swap(nodes: list[Any], chosen: random.Random) -> list[Any]:
    """Swap two neighbours that differ, in place."""
    n = chosen.choice([n for n in range(len(nodes) - 1) if ast.dump(nodes[n]) != ast.dump(nodes[n + 1])])
    nodes[n : n + 2] = nodes[n + 1], nodes[n]
    return nodes


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
