"""Block `study`: named variants of this file, as their differences."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from tasks.params import Block
from tasks.params.block import suggest

Overrides = dict[str, Any]  # "block.key" → value
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]  # part of file and experiment names


class Study(Block):
    """The variants of a study: `base` is shared, each adds its differences."""

    seeds: int = Field(ge=2, le=1000)
    compared: tuple[str, ...] = Field(min_length=1, strict=False)
    base: Overrides
    variants: dict[Name, Overrides]

    @model_validator(mode="after")
    def _compared_are_variants(self) -> Study:
        for name in self.compared:
            if name not in self.variants:
                raise ValueError(f"compared must name variants; received {name}; {suggest(name, self.variants)}")
        return self
