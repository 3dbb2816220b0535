"""Block `model`: the network, its capacity, and which layers are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.params import Block

PRETRAINED = ("efficientnet_lite0", "pretrained")
FEWEST_TO_FINE_TUNE = (
    250  # training images: of 200 a probe reached more, of 270 fine-tuning (docs/few-images.md, data.md)
)

Width = Annotated[int, Field(ge=1, le=4096)]


class Model(Block):
    """The network: its width, or the pretrained layers that are trained."""

    network: Literal["notebook_cnn", "whitened_cnn", "efficientnet_lite0", "pretrained"]
    trainable: Literal["all", "head"]
    input_size: Annotated[int, Field(ge=32, le=1024)] | None
    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=5, strict=False)]  # YAML has lists alone
    dense_units: Width
    pool_before_norm: bool
    activation: Literal["relu", "gelu"]

    @property
    def is_pretrained(self) -> bool:
        """Tell whether training starts from the weights that `backbone` of dvc.yaml names."""
        return self.network in PRETRAINED

    @model_validator(mode="after")
    def _suits_the_network(self) -> Model:
        if self.trainable == "head" and not self.is_pretrained:
            raise ValueError(
                f"trainable: must be all with network {self.network}, which starts from random weights; received head; "
                f"set model.network to {' or '.join(PRETRAINED)}"
            )
        if self.input_size and self.network != "efficientnet_lite0":
            raise ValueError(
                f"input_size: must be null with network {self.network}, which takes images as they are; received "
                f"{self.input_size}; normalize.size resizes them"
            )
        if self.network == "whitened_cnn" and len(self.filters) > 4:
            raise ValueError(
                f"filters: must name at most 4 blocks, as each halves the image; received {len(self.filters)}"
            )
        return self
