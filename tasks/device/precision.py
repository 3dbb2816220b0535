"""The precision of a training, where the network decides it."""

from __future__ import annotations

from tasks.params.model import Model
from tasks.params.train import Train


def precision(model: Model, train: Train) -> str:
    """Say what `train.precision` is, where the network decides what `auto` means.

    Pretrained networks compute in float32, whose accuracy is known. Where bfloat16 pays depends on the CPU and on the
    layers: docs/few-images.md has what was measured.
    """
    return "float32" if train.precision == "auto" and model.is_pretrained else train.precision
