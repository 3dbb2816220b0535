"""Every key with every kind of wrong value: one line."""

from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from tasks.params import Block, ParameterError, parse
from tasks.params.document import Params, validate
from tests.support import ROOT

CONTENT = parse(ROOT / "params.yaml")
BOUNDS: dict[type, tuple[str, str, int]] = {
    Ge: ("below its range", "ge", -1),
    Gt: ("at the end of its range", "gt", 0),
    Le: ("above its range", "le", 1),
    Lt: ("at the end of its range", "lt", 0),
}
MISSING = object()
FREE_FORM = {"study.base", "study.variants"}  # their keys are those of the other blocks, checked by `load_params`


def fields(block: type[Block], *keys: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in block.model_fields.items():
        key = (*keys, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block):
            yield from fields(field.annotation, *key)
        elif ".".join(key) not in FREE_FORM:
            yield ".".join(key), field


def bounds(annotation: Any, metadata: list[Any]) -> list[Any]:
    """List the bounds of a number, which may also be null."""
    inner = [bound for part in get_args(annotation) for bound in getattr(part, "__metadata__", ())]
    own = [bound for bound in [*metadata, *inner] if type(bound) in BOUNDS]
    nested = [b for i in inner for b in getattr(i, "metadata", ()) if type(b) in BOUNDS]
    return own + nested


def wrong_values(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    yield from {
        "a mapping": {"a": 1},
        "a list of lists": [[]],
        "bytes": b"x",
        "NaN": float("nan"),
        "infinity": float("inf"),
        "minus infinity": float("-inf"),
        "a huge number": 10**400,
        "a huge negative number": -(10**400),
    }.items()
    if type(None) not in get_args(field.annotation):
        yield "null", None
    if field.annotation != str | None:  # a pattern may be any text
        yield "another word", "x; touch y $(z) {{ w }} <b>"
    if field.annotation is not bool:
        yield "true", True
    for bound in bounds(field.annotation, field.metadata):
        kind, name, step = BOUNDS[type(bound)]
        yield kind, getattr(bound, name) + step


FIELDS = dict(fields(Params))
CASES = {key: dict(wrong_values(field)) for key, field in FIELDS.items()}


def with_value(key: str, value: Any) -> dict[str, Any]:
    changed = deepcopy(CONTENT)
    *blocks, name = key.split(".")
    place = reduce(getitem, blocks, changed)
    place[name] = value
    if value is MISSING:
        del place[name]
    return changed


def complaint(content: dict[str, Any]) -> str:
    with pytest.raises(ParameterError) as caught:
        validate(content, "params.yaml")
    return str(caught.value)


@pytest.mark.parametrize("key", CASES)
def test_a_wrong_value_is_one_line_that_names_its_key(key: str) -> None:
    for kind, value in CASES[key].items():
        message = complaint(with_value(key, value))
        assert message.startswith(f"params.yaml: {key}"), kind
        assert len(message.splitlines()) == 1, kind
        assert len(message) < 400, kind


def test_every_block_and_kind_of_bound_is_covered() -> None:
    assert {key.split(".")[0] for key in FIELDS} == set(Params.model_fields)
    kinds = {kind for cases in CASES.values() for kind in cases}
    assert kinds >= {"below its range", "above its range", "at the end of its range"}
    for key in ("regularize.early_stopping.patience", "normalize.train_images", "train.batch_size", "study.seeds"):
        assert CASES[key].keys() >= {"below its range", "above its range"}


@pytest.mark.parametrize("key", sorted({key.rsplit(".", 1)[0] for key in FIELDS}))
def test_an_unknown_sibling_is_named_with_the_known_ones(key: str) -> None:
    message = complaint(with_value(f"{key}.unheard_of", 1))
    assert message.startswith(f"params.yaml: {key}.unheard_of: is no parameter; known: ")


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_a_missing_key_is_named(key: str) -> None:
    assert complaint(with_value(key, MISSING)).startswith(f"params.yaml: {key}: Field required")
