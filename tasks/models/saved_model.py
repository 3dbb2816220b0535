"""The model file: reproducible bytes, for Keras 3.8 and newer.

Keras rejects a key that its version does not know, even one that states a default, and each version writes more of
them. So the file states only what differs from the defaults of the layers, and no initializers, which a finished model
no longer needs.
"""

import inspect
import json
import os
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tasks import errors
from tasks.data import images
from tasks.device.backend import keras

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of the format


def save_model(model: keras.Model, path: Path, resize_mode: str) -> None:
    """Save a model so that the same weights are the same bytes.

    Keras writes the time into the archive's entries and metadata; both are replaced here, and so is the configuration,
    by one that older versions know. `resize_mode`, key `fit` of the metadata, states how images of another shape are
    brought to the model's.

    Raises
    ------
    OSError
        If the file cannot be written, or reads back with other weights.
    """
    stamped = path.with_suffix(".stamped.keras")
    try:
        model.save(stamped)
        with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps(
                        {**json.loads(content), "date_saved": "1980-01-01@00:00:00", "fit": resize_mode}
                    ).encode()
                elif name == "config.json":
                    content = json.dumps(without_defaults(json.loads(content))).encode()
                target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    finally:
        stamped.unlink(missing_ok=True)
    copy = keras.models.load_model(path)
    pairs = zip(model.get_weights(), copy.get_weights(), strict=True)
    if not all(np.array_equal(written, read) for written, read in pairs):
        raise OSError(f"{path} does not read back as it was written")
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def without_defaults(config: Any) -> Any:
    """Remove initializers and default values of layers from Keras' configuration."""
    if isinstance(config, list):
        return [without_defaults(item) for item in config]
    if not isinstance(config, dict):
        return config
    kept = {
        key: without_defaults(value)
        for key, value in config.items()
        if not (isinstance(value, dict) and value.get("module") == "keras.initializers")
    }
    if {"module", "class_name", "config"} <= kept.keys():
        kind = getattr(import_module(kept["module"]), kept["class_name"])
        if issubclass(kind, keras.Layer):
            kept["config"] = _differences(kind, kept["config"])
    return kept


def _differences(kind: type[keras.Layer], config: dict[str, Any]) -> dict[str, Any]:
    """Keep the settings of a layer that differ from its defaults."""
    defaults = {
        name: json.dumps(parameter.default, default=repr)  # a tuple as Keras writes it: a list
        for name, parameter in inspect.signature(kind).parameters.items()
    }
    differing = {key: value for key, value in config.items() if defaults.get(key) != json.dumps(value)}
    try:
        return differing if differing == config or kind.from_config({**differing}) else config
    except KeyError:  # a class may require a key that has a default, as Rescaling requires its offset
        return config


def read_resize_mode(path: Path) -> str:
    """Read how images are resized for the model; refuse a file without."""
    try:
        with zipfile.ZipFile(path) as archive:
            resize_mode = json.loads(archive.read("metadata.json"))["fit"]
        if resize_mode not in images.RESIZE_MODES:
            raise ValueError(f"received {resize_mode!r}")
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        rule = f"must state how images are resized for it: {', '.join(images.RESIZE_MODES)}"
        raise errors.RefusedError(f"{path} {rule}; {error}; `dvc repro` makes it again") from error
    return str(resize_mode)


def load_model(path: Path, image_shape: tuple[int, ...] | None, n_classes: int | None) -> keras.Model:
    """Load a model for inference; never run code of the file.

    `image_shape` (height, width and channels) and `n_classes` are required; None takes any size or number.

    Raises
    ------
    tasks.errors.RefusedError
        If the file is no Keras model that loads in safe mode, or has another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
            damaged = archive.testzip()  # Keras seeks in the weights, and Python 3.12 then skips their checksum
        if outside:  # control: paths in a model
            raise ValueError(f"it holds {outside[0]}, a path outside of the archive")
        if damaged:
            raise ValueError(f"{damaged} in it does not match its checksum")
        # control: safe mode
        model = keras.models.load_model(path, compile=False)  # safe mode, the default, rejects code
    except Exception as error:  # control: model file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise errors.RefusedError(f"{path} must be a Keras model that loads in safe mode: {reason}") from error
    received = model.input_shape, model.output_shape
    expected = image_shape or (*model.input_shape[1:-1], 3)
    n_logits = n_classes or model.output_shape[-1]
    if None in expected or received != ((None, *expected), (None, n_logits)):
        raise errors.RefusedError(
            f"{path} must take {expected} pixels and give {n_logits} logits; received {received}; run `dvc repro`"
        )
    return model
