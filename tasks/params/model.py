"""Block `model`: the network and its capacity."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.params import Block

# Older experiments call the networks by the names on the left.
RENAMED = {"reference": "notebook_cnn", "speed": "whitened_cnn"}

Width = Annotated[int, Field(ge=1, le=4096)]


class Model(Block):
    """Which network, and how wide. `dense_units` and `pool_before_norm` belong to `notebook_cnn` alone."""

    network: Literal["notebook_cnn", "whitened_cnn"]
    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=5)]
    dense_units: Width
    pool_before_norm: bool

    @field_validator("network", mode="before")
    @classmethod
    def _by_its_new_name(cls, network: Any) -> Any:
        return RENAMED.get(network, network) if isinstance(network, str) else network

    @field_validator("filters", mode="before")
    @classmethod
    def _as_tuple(cls, filters: Any) -> Any:
        return tuple(filters) if isinstance(filters, list) else filters

    @model_validator(mode="after")
    def _fits_the_image(self) -> Model:
        if self.network == "whitened_cnn" and len(self.filters) > 4:
            raise ValueError(
                f"filters: must name at most 4 blocks, each halves the image; received {len(self.filters)}"
            )
        return self
