"""Block `regularize`: every regularizer, each with a value that switches it off."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block


class Augment(Block):
    """Random changes to a training image, drawn anew each epoch."""

    flip: Literal["none", "random", "alternating"]
    translate: Annotated[int, Field(ge=0, le=64)]
    zoom: Annotated[float, Field(gt=0, le=1)]
    cutout: Annotated[int, Field(ge=0, le=512)]
    brightness: Annotated[float, Field(ge=0, le=1)]
    contrast: Annotated[float, Field(ge=0, le=1)]
    mixup: Annotated[float, Field(ge=0, le=100)]
    cutmix: Annotated[float, Field(ge=0, le=100)]


class EarlyStopping(Block):
    """Early stopping after `patience` epochs without a better validation loss."""

    patience: Annotated[int, Field(ge=0, le=10_000)]


class Regularize(Block):
    """What may close the gap between training and validation."""

    l2: Annotated[float, Field(ge=0, le=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_norm: bool
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    augment: Augment
    early_stopping: EarlyStopping
