"""The precision of a training, as far as the network decides it."""

from tasks.params.model import Model
from tasks.params.train import Train


def precision(model: Model, train: Train) -> str:
    """Resolve `train.precision: auto` to float32 for a pretrained network.

    Whether bfloat16 is faster depends on the CPU and on the layers: docs/few-images.md has the measurements.
    """
    return "float32" if train.precision == "auto" and model.is_pretrained else train.precision
