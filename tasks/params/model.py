"""Block `model`: the network and its capacity."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.params import Block

Width = Annotated[int, Field(ge=1, le=4096)]


class Model(Block):
    """Which network, and how wide. `dense_units` and `pool_before_norm` belong to `reference` alone."""

    network: Literal["reference", "speed"]
    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=5)]
    dense_units: Width
    pool_before_norm: bool

    @field_validator("filters", mode="before")
    @classmethod
    def _as_tuple(cls, filters: Any) -> Any:
        return tuple(filters) if isinstance(filters, list) else filters
