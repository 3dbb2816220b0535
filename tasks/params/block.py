"""The base class of every block of params.yaml.

It rejects unknown keys, wrong types, values out of range, NaN and infinity, each with one line for the first mistake.
"""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.params.reader import PARAMS_FILE, ParameterError, parse, shorten


class Block(BaseModel):
    """A block of params.yaml: frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,  # control: strict types
        extra="forbid",  # control: unknown keys
        allow_inf_nan=False,
        validate_default=True,
    )


B = TypeVar("B", bound=Block)


def load_block(key: str, block: type[B], path: Path = PARAMS_FILE) -> B:
    """Load one block of a parameter file, or raise ParameterError."""
    content = parse(path)
    if key not in content:
        raise ParameterError(f"{path}: {key}: this block is missing; `python -m tasks.params` names the mistake")
    return validate_block(block, content[key], str(path), key)


def validate_block(block: type[B], values: object, where: str, *keys: str) -> B:
    """Validate values as a block, or raise ParameterError for the first mistake.

    `where` and the dotted `keys` open the message. Unknown keys come first: a misspelled key is also a missing one.
    """
    try:
        return block.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        unknown = [item for item in errors if item["type"] == "extra_forbidden"]
        first, *others = unknown or errors
        key = ".".join([*keys, *(str(part) for part in first["loc"])])
        more = f" (and {len(others)} more)" if others else ""
        if unknown:
            rule = f"is no parameter; {suggest(str(first['loc'][-1]), _siblings(block, first['loc']))}"
            raise ParameterError(f"{where}: {key}: {rule}{more}") from error
        rule = first["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        received = "" if first["type"] in {"missing", "value_error"} else f"; received {shorten(first['input'])}"
        raise ParameterError(f"{where}: {key}: {rule}{received}{more}") from error


def suggest(unknown: str, known: Collection[str], otherwise: str = "") -> str:
    """Suggest the nearest known name, or list all where none is near."""
    nearest = get_close_matches(unknown, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else otherwise or "known: " + ", ".join(known)


def _siblings(block: type[Block], loc: tuple[int | str, ...]) -> list[str]:
    """List the known keys of the block that holds an unknown one."""
    for part in loc[:-1]:
        if isinstance(part, str):  # a number is a place in a list
            kind = block.model_fields[part].annotation
            block = next(part for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, Block))
    return [field.alias or name for name, field in block.model_fields.items()]
