"""Block `train`: the recipe and the device."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block


class Train(Block):
    """Optimizer, schedule, length and seed; device, precision and threads."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    optimizer: Literal["adam", "adamw", "sgd", "muon"]
    learning_rate: Annotated[float, Field(gt=0)]
    backbone_rate: Annotated[float, Field(gt=0, le=1)]
    adam_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["constant", "one_cycle", "cosine"]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    class_weight: Literal["none", "balanced"]
    deterministic: bool
    precision: Literal["auto", "float32", "mixed_bfloat16"]
    device: Literal["auto", "cpu", "gpu"]
    threads: Annotated[int, Field(ge=0, le=1024)]
