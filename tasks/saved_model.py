"""The model file: written such that the same weights are the same bytes, and loaded only in safe mode.

RefusedError: a file that needs code to load, is no Keras model, or has other inputs or classes.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from tasks import step
from tasks.arrays import SHAPE

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say


def save(model: keras.Model, path: Path) -> None:
    """Write a model such that the same weights are the same bytes, and see that it reads back.

    Keras stamps the time into the archive's entries and its metadata; both are replaced here.
    """
    stamped = path.with_suffix(".stamped.keras")
    try:
        model.save(stamped)
        with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps({**json.loads(content), "date_saved": "1980-01-01@00:00:00"}).encode()
                target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    finally:
        stamped.unlink(missing_ok=True)
    copy = keras.models.load_model(path)
    pairs = zip(model.get_weights(), copy.get_weights(), strict=True)
    if not all(np.array_equal(written, read) for written, read in pairs):
        raise OSError(f"{path} does not read back as it was written")
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def load(path: Path, n_classes: int) -> keras.Model:
    """A model for inference, from pixels to so many classes; code in the file is refused and never run.

    Raises
    ------
    tasks.step.RefusedError
    """
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
        if outside:
            raise ValueError(f"it holds {outside[0]}, a path outside of the archive")
        network = keras.models.load_model(path, compile=False)  # safe mode: refuses code in the file
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise step.RefusedError(f"{path} must be a Keras model that loads in safe mode: {why}") from error
    received = network.input_shape, network.output_shape
    if received != ((None, *SHAPE), (None, n_classes)):
        raise step.RefusedError(
            f"{path} must take {SHAPE} pixels and give {n_classes} logits; received {received}; run `dvc repro`"
        )
    return network
