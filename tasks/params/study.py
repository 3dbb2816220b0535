"""Block `study`: named variants of this file, each stated only as its differences."""

from __future__ import annotations

from typing import Any

from tasks.params import Block

Overrides = dict[str, Any]  # "block.key" → value


class Study(Block):
    """`base` holds what all variants share; a variant adds its own differences to it."""

    base: Overrides
    variants: dict[str, Overrides]
