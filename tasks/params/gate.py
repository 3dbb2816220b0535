"""Block `gate`: what `python -m flows.gate` lets pass; no stage reads it."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import PARAMS_FILE, Block, parse
from tasks.params.block import validate_block

Level = Literal["off", "warn", "fail"]


class Gate(Block):
    """What may fall or grow."""

    tolerance: Annotated[float, Field(ge=0, le=100)]
    leaks: Level
    conflicts: Level
    unreadable: Level
    smallest_class: Level


# Of a file of an earlier version, which lacks the block.
DEFAULT = Gate(tolerance=0.0, leaks="warn", conflicts="warn", unreadable="warn", smallest_class="warn")


def read_gate() -> Gate:
    """Read the block from params.yaml; the default from a file without it."""
    content = parse(PARAMS_FILE)
    return validate_block(Gate, content["gate"], str(PARAMS_FILE), "gate") if "gate" in content else DEFAULT
