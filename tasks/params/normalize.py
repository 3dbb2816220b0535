"""Block `normalize`: the splits, and the constants that scale the pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block


class Normalize(Block):
    """How the 50,000 training images are divided, and how pixels become network inputs."""

    method: Literal["standardize", "rescale"]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    train_images: Annotated[int, Field(ge=10, le=50_000)] | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
