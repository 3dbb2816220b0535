"""Classifies images with the trained model, and gives calibrated probabilities.

`python -m tasks.classify IMAGE… [--top N] [--json]`

Takes any image files, as a browser shows them on a white page, and fits them to the model as its training images
were; what was changed is noted. The model is loaded in safe mode: one that carries code is refused. Ends with 2 when a
file is no image; the others are still classified.
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import images
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.metrics.calibration import apply_temperature
from tasks.models import saved_model
from tasks.models.inference import predict
from tasks.params import ParameterError, parse
from tasks.params.evaluate import TestTimeAugmentation

BATCH_SIZE = 500


def read_image(path: Path, shape: tuple[int, int], fit: str) -> images.Picture:
    """Read a picture as the model takes it, with notes on what had to be changed.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Height and width, in pixels.
    fit : str
        How a picture of another shape is brought to it.

    Raises
    ------
    tasks.errors.RefusedError
        If the file cannot be read as an image.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait until somebody writes into it
            raise errors.RefusedError(f"{path}: must be an image, such as a PNG or JPEG file: it is no regular file")
        with path.open("rb") as file:
            return images.read_fitted(file, shape, fit)
    except OSError as error:
        why = error.strerror or error
        raise errors.RefusedError(f"{path}: must be an image, such as a PNG or JPEG file: {why}") from error
    except images.PictureError as error:
        raise errors.RefusedError(f"{path}: {error}") from error


def artifacts() -> dict[str, Path]:
    """Find the model and its calibration, as dvc.yaml names them.

    Raises
    ------
    tasks.errors.RefusedError
        If they have not been made.
    tasks.params.ParameterError
        If dvc.yaml cannot be read.
    """
    listed = parse(Path("dvc.yaml"))["artifacts"]
    paths = {name: Path(listed[name]["path"]) for name in ("classifier", "calibration")}
    for path in paths.values():
        if not path.exists():
            raise errors.RefusedError(f"{path} must exist; `dvc repro` makes it")
    return paths


def _read_calibration(path: Path) -> dict[str, Any]:
    """Read the class names, the temperature, and the views of an image that count."""
    try:
        calibration: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names, temperature = calibration["classes"], calibration["temperature"]
        if not all(isinstance(name, str) for name in names) or not (temperature is None or temperature > 0):
            raise ValueError
        if calibration["test_time_augmentation"] not in get_args(TestTimeAugmentation):
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        rule = "must hold class names, a temperature above 0 and `test_time_augmentation`"
        raise errors.RefusedError(f"{path} {rule}, and is damaged; `make doctor` restores it") from error
    return calibration


def classify(
    model: keras.Model, calibration: dict[str, Any], pixels: list[NDArray[np.uint8]]
) -> list[dict[str, float]]:
    """Classify images of the model's size.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits.
    calibration : dict
        Class names, temperature, and the views of an image that count.
    pixels : list of ndarray of shape (height, width, 3), dtype=uint8

    Returns
    -------
    list of dict
        For each image the calibrated probability of every class by name, most probable first.
    """
    if not pixels:
        return []
    names = calibration["classes"]
    uncalibrated = predict(model, np.stack(pixels), BATCH_SIZE, calibration["test_time_augmentation"])
    if calibration["temperature"] is None:
        print("note: not calibrated, as there was no validation split to fit a temperature on", file=sys.stderr)
    probabilities = apply_temperature(uncalibrated, calibration["temperature"] or 1.0)
    return [{names[label]: float(row[label]) for label in np.argsort(-row, kind="stable")} for row in probabilities]


def printable(text: object) -> str:
    """Escape what a terminal cannot show on one line: a file's name may hold any byte but two."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )


def main(arguments: list[str] | None = None) -> int:
    """Classify the files that are named, and print their classes."""
    parser = argparse.ArgumentParser(prog="python -m tasks.classify", description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="show so many classes, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON: all classes of every image")
    args = parser.parse_args(arguments)
    if args.top < 1:
        parser.error(f"--top must be at least 1; received {args.top}")
    try:
        paths = artifacts()
        runtime.prepare("cpu")  # a few images are not worth a GPU's start
        calibration = _read_calibration(paths["calibration"])
        model = saved_model.load_model(paths["classifier"], None, len(calibration["classes"]))
        resize_mode = saved_model.read_resize_mode(paths["classifier"])
        pictures, refusals = _read_images(args.images, model.input_shape[1:3], resize_mode)
        classes = classify(model, calibration, [picture.pixels for picture in pictures.values()])
    except (errors.RefusedError, ParameterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return errors.RefusedError.status
    notes = ["; ".join(picture.notes) for picture in pictures.values()]
    answers = list(zip(pictures, notes, classes, strict=True))
    if args.json:
        entries = [{"image": str(path), "note": note, "classes": found} for path, note, found in answers]
        print(json.dumps(entries, indent=2))
    else:
        for path, note, found in answers:
            top = ", ".join(f"{name} {probability:.1%}" for name, probability in list(found.items())[: args.top])
            print(printable(f"{path}: {top}{f'  ({note})' if note else ''}"))
    for message in refusals:
        print(f"error: {printable(message)}", file=sys.stderr)
    return errors.RefusedError.status if refusals else 0


def _read_images(paths: list[Path], shape: tuple[int, int], fit: str) -> tuple[dict[Path, images.Picture], list[str]]:
    """Read each file once; the messages are about those that are no images."""
    pictures: dict[Path, images.Picture] = {}
    refusals = []
    for path in dict.fromkeys(paths):
        try:
            pictures[path] = read_image(path, shape, fit)
        except errors.RefusedError as error:
            refusals.append(str(error))
    return pictures, refusals


if __name__ == "__main__":
    sys.exit(main())
