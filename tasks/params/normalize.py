"""Block `normalize`: images to arrays, splits, and constants that scale pixels."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.params import Block

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Normalize(Block):
    """How images become arrays of one shape, splits, and scaled pixels."""

    size: Annotated[int, Field(ge=8, le=1024)] | None
    fit: Literal["crop", "pad", "stretch"]
    unreadable: Literal["refuse", "skip"]
    classes: Annotated[tuple[str, ...], Field(min_length=2, strict=False)] | None
    groups: str | None
    copies: Literal["strict", "usual", "none"]
    conflicts: Literal["keep", "leave_out"]
    method: Literal["standardize", "rescale"]
    test_fraction: Fraction
    validation_fraction: Fraction
    folds: Annotated[int, Field(ge=0, le=20)]
    train_images: Annotated[int, Field(ge=10, le=100_000_000)] | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @field_validator("folds")
    @classmethod
    def _is_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0, which is off, or 2 or more; received 1")
        return folds

    @field_validator("groups")
    @classmethod
    def _is_a_rule(cls, groups: str | None) -> str | None:
        rule = r"must be null, folder, or a regular expression with a part in brackets, such as 'patient_(\d+)'"
        try:
            if groups in (None, "folder") or re.compile(groups).groups:
                return groups
        except re.error as error:
            rule = f"{rule}: {error}"
        raise ValueError(f"{rule}; received {groups}")
