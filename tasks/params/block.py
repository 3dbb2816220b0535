"""The base class of every block of params.yaml: strict, frozen, and one line for the first mistake.

Refused: an unknown key, a wrong type, a value out of range, NaN and infinity.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.params.reader import PARAMS_FILE, ParameterError, parse, shorten


class Block(BaseModel):
    """One block of params.yaml. Frozen, strict, and closed to keys that it does not name."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,  # control: strict types
        extra="forbid",  # control: unknown keys
        allow_inf_nan=False,
        validate_default=True,
    )


B = TypeVar("B", bound=Block)


def read(key: str, block: type[B], path: Path = PARAMS_FILE) -> B:
    """Read one block of a parameter file.

    Parameters
    ----------
    key : str
        Of the block in the file.
    block : subclass of Block
        What it must hold.
    path : Path

    Raises
    ------
    ParameterError
        If the file cannot be read, or the block breaks a rule.
    """
    content = parse(path)
    if key not in content:
        raise ParameterError(f"{path}: {key}: this block is missing; `python -m tasks.params` says what is wrong")
    return check(block, content[key], str(path), key)


def check(block: type[B], values: object, where: str, *keys: str) -> B:
    """Validate values as a block; `where` and the dotted key open the message.

    Unknown keys come first: a misspelled key is the cause of the one that is missing.

    Raises
    ------
    ParameterError
        On the first rule that the values break; the message counts the others.
    """
    try:
        return block.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        unknown = [one for one in errors if one["type"] == "extra_forbidden"]
        first, *others = unknown or errors
        key = ".".join([*keys, *(str(part) for part in first["loc"])])
        more = f" (and {len(others)} more)" if others else ""
        if unknown:
            rule = f"is no parameter; {known_instead(str(first['loc'][-1]), _siblings(block, first['loc']))}"
            raise ParameterError(f"{where}: {key}: {rule}{more}") from error
        rule = first["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        received = "" if first["type"] in {"missing", "value_error"} else f"; received {shorten(first['input'])}"
        raise ParameterError(f"{where}: {key}: {rule}{received}{more}") from error


def known_instead(unknown: str, known: Collection[str], otherwise: str = "") -> str:
    """Name the known name that is nearest to an unknown one; where none is near, all of them."""
    nearest = get_close_matches(unknown, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else otherwise or "known here: " + ", ".join(known)


def _siblings(block: type[Block], loc: tuple[int | str, ...]) -> list[str]:
    """List the keys that are known where one is not."""
    for part in loc[:-1]:
        if isinstance(part, str):  # a number is a place in a list
            kind = block.model_fields[part].annotation
            block = next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Block))
    return [field.alias or name for name, field in block.model_fields.items()]
