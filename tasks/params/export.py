"""Block `export`: the exported files, and how equal they must be."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.params import Block


class Export(Block):
    """Formats, and how far their predictions may be from the model's."""

    formats: list[Literal["onnx", "litert", "litert_int8"]]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    int8_tolerance: Annotated[float, Field(ge=0, le=100)]

    @field_validator("formats")
    @classmethod
    def _check_formats(cls, formats: list[str]) -> list[str]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"must name each format once; received {', '.join(formats)}")
        return formats
