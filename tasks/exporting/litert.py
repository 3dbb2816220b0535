"""A Keras classifier as a LiteRT file, from pixels to calibrated probabilities.

The converter is TensorFlow's, whatever Keras' backend is, and keeps the memory that it takes: it runs in a process of
its own.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.exporting.about import ENTRY, About, write_about
from tasks.models.saved_model import ZIP_DATE

CONVERT = "import sys; from tasks.exporting.litert import convert; convert(*sys.argv[1:])"


def write_litert(model_path: Path, about: About, sample: NDArray[np.uint8] | None, output: Path) -> None:
    """Write a classifier as a LiteRT file.

    Parameters
    ----------
    model_path : Path
        A .keras file.
    about : About
        What the file says of itself, in `about.json` of the zip at its end, which any unzip reads. The probabilities
        are softmax(logits / about.temperature).
    sample : ndarray of shape (n, height, width, 3), dtype=uint8, optional
        Images from which the ranges of 8 bit integers are taken; without them, weights stay float32.
    output : Path
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = str(model_path.resolve()), str(output.resolve())
        command = [sys.executable, "-c", CONVERT, *paths, str(about.temperature or 1.0)]
        if sample is not None:
            np.save(array := Path(folder, "sample.npy"), sample)
            command.append(str(array))
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the LiteRT converter must succeed; it said: {done.stderr[-2000:]}")
    with zipfile.ZipFile(output, "a") as archive:
        archive.writestr(zipfile.ZipInfo(f"{ENTRY}.json", ZIP_DATE), write_about(about))


def convert(model_path: str, output: str, temperature: str, sample: str = "") -> None:
    """Convert by way of a SavedModel, as Keras' own export does."""
    import tensorflow as tf

    from tasks.device.backend import keras

    tf.config.set_visible_devices([], "GPU")
    model = keras.models.load_model(model_path, compile=False)

    def classify(pixels: Any) -> dict[str, Any]:
        return {"probabilities": tf.nn.softmax(model(pixels, training=False) / float(temperature))}

    signature = [tf.TensorSpec(model.input_shape, tf.uint8, "pixels")]
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", tf.function(classify, input_signature=signature))
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if sample:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in np.load(sample))
        Path(output).write_bytes(converter.convert())
