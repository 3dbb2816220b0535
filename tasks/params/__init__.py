"""What every block of params.yaml shares: strict, frozen classes, and one line for each mistake.

`read` gives one block; `tasks.params.document` checks the whole file, also as
`python -m tasks.params`. Refused: an unknown or repeated key, a wrong type, a value out of
range, NaN and infinity, broken YAML, anchors, and a file too large to be a parameter file.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

PARAMS_FILE = Path("params.yaml")
MARKER = re.compile(r"^<{7} ", re.MULTILINE)  # of git, where two branches changed the same lines
MAX_BYTES = 100_000  # ours has a few thousand; a larger one is a mistake, and takes seconds to parse


class ParameterError(ValueError):
    """A parameter that breaks a rule; the message names the key, the rule and the value."""


class Block(BaseModel):
    """One block of params.yaml. Frozen, strict, and closed to keys that it does not name."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
    )


B = TypeVar("B", bound=Block)


def read(block: type[B], path: Path = PARAMS_FILE) -> B:
    """Read one block of a parameter file; its key is the class name in lower case.

    Raises
    ------
    ParameterError
        If the file cannot be read, or the block breaks a rule.
    """
    name = block.__name__.lower()
    content = parse(path)
    if name not in content:
        raise ParameterError(f"{path}: {name}: this block is missing; `python -m tasks.params` says what is wrong")
    return check(block, content[name], str(path), name)


def parse(path: Path) -> dict[str, Any]:
    """The parameter file as plain dictionaries, before any rule is applied."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ParameterError(f"{path}: must be at most {MAX_BYTES:,} bytes; received {size:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"{path}: cannot be read: {error.strerror}; `git checkout {path}` restores it") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path}: is not valid YAML: {_first_line(error)}") from error
    return parse_text(text, str(path))


class _WithoutAnchors(Composer):
    """Refuses `&name` and `*name`: a few lines of them expand to more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if event.anchor is not None:
            raise ComposerError(None, None, f"anchors are refused; write {event.anchor} out", event.start_mark)
        return super().compose_node(parent, index)


def parse_text(text: str, where: str) -> dict[str, Any]:
    """The same for the text of a parameter file, such as another commit's."""
    if (marker := MARKER.search(text)) is not None:
        number = text.count("\n", 0, marker.start()) + 1
        raise ParameterError(
            f"{where}, line {number}: must hold one side of a merge; received both; choose, and take the lines of "
            "<<<<<<<, ======= and >>>>>>> out; `make doctor` says how the merge is ended"
        )
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _WithoutAnchors
    try:
        content = yaml.load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ParameterError(f"{where}{line}: is not valid YAML: {_first_line(error.problem)}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(f"{where}: is not valid YAML: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise ParameterError(f"{where}: must hold blocks of `key: value`; received {_shown(content)}")
    return content


def check(block: type[B], values: object, where: str, *keys: str) -> B:
    """Validate `values` as a block; `where` and the dotted key open the message when a rule is broken.

    Unknown keys come first: a misspelled key is the cause of the one that is missing.
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
        received = "" if first["type"] in {"missing", "value_error"} else f"; received {_shown(first['input'])}"
        raise ParameterError(f"{where}: {key}: {rule}{received}{more}") from error


def known_instead(unknown: str, known: Collection[str], otherwise: str = "") -> str:
    """Name the known one that an unknown name is nearest to; where none is near, all of them."""
    nearest = get_close_matches(unknown, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else otherwise or "known here: " + ", ".join(known)


def _siblings(block: type[Block], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where one is not."""
    for part in loc[:-1]:
        if isinstance(part, str):  # a number is a place in a list
            kind = block.model_fields[part].annotation
            block = next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Block))
    return [field.alias or name for name, field in block.model_fields.items()]


def _first_line(message: object) -> str:
    return (str(message).strip() or "unreadable").splitlines()[0]


def _shown(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
