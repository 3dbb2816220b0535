"""The model file: the same weights are the same bytes, an older Keras reads it, and only safe mode loads it.

Keras refuses a key that its version does not know, even one that only states a default, and each version writes
more of them. So the file states what differs from the defaults of the layers, and no initializers, which
a finished model needs no more: Keras 3.8 and newer load it (tests/test_saved_model.py).

RefusedError: a file that needs code to load, is no Keras model, or has other inputs or classes.
"""

from __future__ import annotations

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

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say


def save(model: keras.Model, path: Path, fit: str) -> None:
    """Write a model so that the same weights are the same bytes.

    Keras stamps the time into the archive's entries and its metadata; both are replaced here, and its
    configuration by one that older versions know.

    Parameters
    ----------
    model : keras.Model
    path : Path
    fit : str
        How a picture of another shape was brought to the model's: part of the metadata, for whoever uses the model.

    Raises
    ------
    OSError
        If the file cannot be written, or does not read back as it was written.
    """
    stamped = path.with_suffix(".stamped.keras")
    try:
        model.save(stamped)
        with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps(
                        {**json.loads(content), "date_saved": "1980-01-01@00:00:00", "fit": fit}
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
    """Drop initializers and the defaults of layers from what Keras wrote about a model.

    An object of Keras is a mapping with `module`, `class_name` and `config`, however deep; the rest stays as it is.
    """
    if isinstance(config, list):
        return [without_defaults(item) for item in config]
    if not isinstance(config, dict):
        return config
    kept = {key: without_defaults(value) for key, value in config.items() if not _is_initializer(value)}
    if {"module", "class_name", "config"} <= kept.keys():
        kind = getattr(import_module(kept["module"]), kept["class_name"])
        if issubclass(kind, keras.Layer):
            kept["config"] = _differences(kind, kept["config"])
    return kept


def _is_initializer(value: Any) -> bool:
    return isinstance(value, dict) and value.get("module") == "keras.initializers"


def _differences(kind: type[keras.Layer], config: dict[str, Any]) -> dict[str, Any]:
    """Keep the part of a layer's configuration that differs from the defaults of its class."""
    defaults = {
        name: json.dumps(one.default, default=repr)  # as Keras writes a tuple: a list
        for name, one in inspect.signature(kind).parameters.items()
    }
    differing = {key: value for key, value in config.items() if defaults.get(key) != json.dumps(value)}
    try:
        return differing if differing == config or kind.from_config({**differing}) else config
    except KeyError:  # a class may insist on a key all the same, as Rescaling does on its offset
        return config


def fit(path: Path) -> str:
    """Read how a picture of another shape is brought to that of the model.

    Raises
    ------
    tasks.errors.RefusedError
        If the file does not say.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            how = json.loads(archive.read("metadata.json"))["fit"]
        if how not in images.RESIZE_MODES:
            raise ValueError(f"received {how!r}")
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        rule = f"must say how a picture is fitted to it: {', '.join(images.RESIZE_MODES)}"
        raise errors.RefusedError(f"{path} {rule}; {error}; `dvc repro` makes it again") from error
    return str(how)


def load(path: Path, image_shape: tuple[int, ...] | None, n_classes: int | None) -> keras.Model:
    """Load a model for inference; code in the file is refused and never run.

    Parameters
    ----------
    path : Path
    image_shape : tuple of int or None
        Height, width and channels that the model must take. None: any height and width.
    n_classes : int or None
        Logits that it must give. None: any number.

    Raises
    ------
    tasks.errors.RefusedError
        If the file is no Keras model that loads in safe mode, or has another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
            damaged = archive.testzip()  # Keras seeks in the weights, and Python 3.12 then leaves their checksum out
        if outside:  # control: paths in a model
            raise ValueError(f"it holds {outside[0]}, a path outside of the archive")
        if damaged:
            raise ValueError(f"{damaged} in it does not match its checksum")
        # control: safe mode
        model = keras.models.load_model(path, compile=False)  # safe mode: refuses code in the file
    except Exception as error:  # control: model file
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise errors.RefusedError(f"{path} must be a Keras model that loads in safe mode: {why}") from error
    received = model.input_shape, model.output_shape
    expected = image_shape or (*model.input_shape[1:-1], 3)
    n_logits = n_classes or model.output_shape[-1]
    if None in expected or received != ((None, *expected), (None, n_logits)):
        raise errors.RefusedError(
            f"{path} must take {expected} pixels and give {n_logits} logits; received {received}; run `dvc repro`"
        )
    return model
