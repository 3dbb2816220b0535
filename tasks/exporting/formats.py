"""The formats of exported files, and how each one predicts.

A runtime is imported where its first file is opened; nothing here needs Keras.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.exporting.about import ENTRY, About, read_about

BATCH_SIZE = 64  # images per call
Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]


class Exported(NamedTuple):
    """An exported file that was opened."""

    about: About
    predict: Predict  # images of shape (n, height, width, 3) → probabilities of shape (n, n_classes)


class Format(NamedTuple):
    """A format: its file among the exports, and how to open it."""

    file: str
    open: Callable[[Path, int], Exported]
    has_floats: bool = True  # its arithmetic is the model's; otherwise it has 8 bit integers


def open_onnx(path: Path, threads: int) -> Exported:
    """Open a file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run(None, {"pixels": pixels})[0]
        return probabilities

    return Exported(read_about(session.get_modelmeta().custom_metadata_map.get(ENTRY, "null")), predict)


def open_litert(path: Path, threads: int) -> Exported:
    """Open a file in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(path) as archive:
        about = read_about(archive.read(f"{ENTRY}.json").decode())
    interpreter = Interpreter(str(path), num_threads=threads or None)
    (pixels,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape: tuple[int, ...] = ()

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal shape
        if images.shape != shape:
            shape = images.shape
            interpreter.resize_tensor_input(pixels["index"], shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(pixels["index"], images)
        interpreter.invoke()
        received: NDArray[np.float32] = interpreter.get_tensor(probabilities["index"])
        return received

    return Exported(about, predict)


FORMATS = {
    "onnx": Format("classifier.onnx", open_onnx),
    "litert": Format("classifier.tflite", open_litert),
    "litert_int8": Format("classifier_int8.tflite", open_litert, has_floats=False),
}


def open_exported(name: str, folder: Path, threads: int = 0) -> Exported:
    """Open the file of a format; 0 threads: one a core.

    Raises
    ------
    tasks.errors.RefusedError
        If it is no such file, or says nothing of itself.
    """
    path = folder / FORMATS[name].file
    try:
        return FORMATS[name].open(path, threads)
    except Exception as error:  # each runtime raises its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        rule = f"{path} must be a file that stage export wrote"
        raise errors.RefusedError(f"{rule}: {reason}; `dvc repro` makes it again") from error


def predict_all(predict: Predict, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the probabilities of images, (n, n_classes), batch by batch."""
    starts = range(0, len(images), BATCH_SIZE)
    parts = [predict(np.ascontiguousarray(images[start : start + BATCH_SIZE])) for start in starts]
    return np.concatenate(parts).astype(np.float64)
