"""The parser of parameter files: strict YAML into plain dictionaries."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

PARAMS_FILE = Path("params.yaml")
MERGE_MARKER = re.compile(r"^<{7} ", re.MULTILINE)  # written by git where two branches changed the same lines
MAX_BYTES = 100_000  # params.yaml has a few thousand; a larger file is a mistake, and takes seconds to parse


class ParameterError(ValueError):
    """A broken rule; the message names key, rule and value."""


class _WithoutAnchors(Composer):
    """A composer that rejects anchors, which may expand beyond any memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if event.anchor is not None:  # control: anchors
            raise ComposerError(None, None, f"anchors are refused; write {event.anchor} out", event.start_mark)
        return super().compose_node(parent, index)


def parse(path: Path) -> dict[str, Any]:
    """Parse a parameter file, or raise ParameterError."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:  # control: size of a parameter file
            raise ParameterError(f"{path}: must be at most {MAX_BYTES:,} bytes; received {size:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"{path}: cannot be read: {error.strerror}; `git checkout {path}` restores it") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path}: is not valid YAML: {_first_line(error)}") from error
    return parse_text(text, str(path))


def parse_text(text: str, where: str) -> dict[str, Any]:
    """Parse the text of a parameter file; `where` opens messages."""
    if (marker := MERGE_MARKER.search(text)) is not None:
        number = text.count("\n", 0, marker.start()) + 1
        raise ParameterError(
            f"{where}, line {number}: must hold one side of a merge; received both; keep one, and remove the lines "
            "<<<<<<<, ======= and >>>>>>>; `make doctor` names the commands that end the merge"
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
        raise ParameterError(f"{where}: must hold blocks of `key: value`; received {shorten(content)}")
    return content


def shorten(value: object, limit: int = 80) -> str:
    """Shorten the representation of a value to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _first_line(message: object) -> str:
    return (str(message).strip() or "unreadable").splitlines()[0]
