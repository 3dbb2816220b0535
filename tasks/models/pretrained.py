"""The pretrained classifier that `backbone` of dvc.yaml names.

A checksum list stands for EfficientNet-Lite0, trained on ImageNet. A .keras file is a model that an earlier run of this
project trained. Neither can run code: see `tasks.pretrained.lite0`, and Keras loads in safe mode.
"""

from pathlib import Path

from tasks import errors
from tasks.device.backend import keras
from tasks.models import saved_model
from tasks.pretrained.lite0 import load_lite0

SUFFIXES = {"efficientnet_lite0": ".sha256", "pretrained": ".keras"}  # of the slot, for each network


def load_pretrained(path: Path, network: str, input_size: int | None) -> keras.Model:
    """Load the classifier that a network starts from.

    It leads from uint8 pixels to logits. `path` is `backbone` of dvc.yaml, the others `model.network` and
    `model.input_size`.

    Raises
    ------
    tasks.errors.RefusedError
        If the file does not suit the network, is damaged, has another digest, or holds a model of another form.
    """
    if path.suffix != SUFFIXES[network]:
        suitable = next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)
        advice = f"set model.network to {suitable}" if suitable else "`git checkout dvc.yaml` brings the checksums back"
        raise errors.RefusedError(
            f"backbone in dvc.yaml must be a {SUFFIXES[network]} file with model.network {network}; received {path}; "
            f"{advice}"
        )
    return _load_own_model(path) if network == "pretrained" else load_lite0(path, input_size)


def _load_own_model(path: Path) -> keras.Model:
    model = saved_model.load_model(path, image_shape=None, n_classes=None)
    last, pixels = model.layers[-1], model.inputs[0].dtype
    if not isinstance(last, keras.layers.Dense) or pixels != "uint8":
        raise errors.RefusedError(
            f"{path} must lead from uint8 pixels to a dense layer of logits, as models of this project do; received "
            f"{pixels} pixels and {type(last).__name__}; copy the models/classifier.keras of an earlier run"
        )
    return model
