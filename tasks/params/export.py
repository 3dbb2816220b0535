"""Block `export`: the exported files, and how equal they must be."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block


class Export(Block):
    """Formats, and how far their predictions may be from the model's."""

    formats: list[Literal["onnx", "litert", "litert_int8"]]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    int8_tolerance: Annotated[float, Field(ge=0, le=100)]
