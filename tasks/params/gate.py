"""Block `gate`: what `python -m flows.gate` lets pass; no stage reads it."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block

Level = Literal["off", "warn", "fail"]


class Gate(Block):
    """What may fall or grow; files of earlier versions lack the block."""

    tolerance: Annotated[float, Field(ge=0, le=100)] = 0.0
    leaks: Level = "warn"
    conflicts: Level = "warn"
    unreadable: Level = "warn"
    smallest_class: Level = "warn"
