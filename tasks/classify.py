"""What is on these images? The trained model's answer, with calibrated probabilities.

`python -m tasks.classify IMAGE… [--top N] [--json]`

Takes any image files; what is not 32 × 32 pixels is resized, with a note. The model is loaded in safe mode, so that
one which carries code is refused. Ends with 2 when a file is no image; the others are still classified.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from tasks import runtime, saved_model, step
from tasks.core import scores
from tasks.core.inference import predict
from tasks.core.network import SHAPE

SIDE = SHAPE[0]  # pixels
BATCH_SIZE = 500
MAX_PIXELS = 100_000_000  # an image that claims more is refused before it is decoded


def read_image(path: Path) -> tuple[NDArray[np.uint8], str]:
    """An image as the model takes it, and a note on what had to be changed.

    Returns
    -------
    pixels : ndarray of shape (32, 32, 3), dtype=uint8
    note : str
        Empty when the image had that shape.

    Raises
    ------
    tasks.step.RefusedError
        If the file cannot be read as an image.
    """
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise step.RefusedError(f"{path}: must have at most {MAX_PIXELS:,} pixels; received {file.size}")
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # Pillow would clip it, not scale it
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in {"I", "F"}:
                raise step.RefusedError(f"{path}: must have 8 or 16 bits a channel; received mode {image.mode}")
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be read as one"
        raise step.RefusedError(f"{path}: must be an image, such as a PNG or JPEG file: {why}") from error
    note = "" if image.size == (SIDE, SIDE) else f"resized from {image.width} × {image.height}"
    resized = image if not note else image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(resized), note


def artifacts() -> dict[str, Path]:
    """Where dvc.yaml keeps the model and its calibration.

    Raises
    ------
    tasks.step.RefusedError
        If they have not been made.
    """
    listed = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["artifacts"]
    paths = {name: Path(artifact["path"]) for name, artifact in listed.items()}
    for path in paths.values():
        if not path.exists():
            raise step.RefusedError(f"{path} must exist; `dvc repro` makes it")
    return paths


def _read_calibration(path: Path) -> dict[str, Any]:
    """The class names, the temperature, and whether an image's mirror counts too."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names, temperature, _ = found["classes"], found["temperature"], found["mirror"]
        if not all(isinstance(name, str) for name in names) or not (temperature is None or temperature > 0):
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        rule = "must hold class names, a temperature above 0 and `mirror`"
        raise step.RefusedError(f"{path} {rule}, and is damaged; `make doctor` restores it") from error
    return found


def classify(images: list[NDArray[np.uint8]], paths: dict[str, Path]) -> list[dict[str, float]]:
    """For each image, the calibrated probability of every class by name, most probable first."""
    runtime.prepare("cpu")  # a few images are not worth a GPU's start
    calibration = _read_calibration(paths["calibration"])
    names = calibration["classes"]
    network = saved_model.load(paths["classifier"], len(names))
    raw = predict(network, np.stack(images), BATCH_SIZE, calibration["mirror"])
    if calibration["temperature"] is None:
        print("note: not calibrated, as there was no validation split to fit a temperature on", file=sys.stderr)
    probabilities = scores.with_temperature(raw, calibration["temperature"] or 1.0)
    return [{names[label]: float(row[label]) for label in np.argsort(-row, kind="stable")} for row in probabilities]


def main(arguments: list[str] | None = None) -> int:
    """Classify the files that are named, and print what is on them."""
    parser = argparse.ArgumentParser(prog="python -m tasks.classify", description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="show so many classes, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON: all classes of every image")
    asked = parser.parse_args(arguments)
    read: dict[Path, tuple[NDArray[np.uint8], str]] = {}
    refused: dict[Path, str] = {}
    try:
        paths = artifacts()
        for path in asked.images:
            try:
                read[path] = read_image(path)
            except step.RefusedError as error:
                refused[path] = str(error)
        found = dict(zip(read, classify([pixels for pixels, _ in read.values()], paths), strict=True)) if read else {}
    except step.RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    if asked.json:
        print(
            json.dumps(
                [{"image": str(path), "note": read[path][1], "classes": found[path]} for path in found], indent=2
            )
        )
    else:
        for path, classes in found.items():
            note = f"  ({read[path][1]})" if read[path][1] else ""
            likely = ", ".join(f"{name} {chance:.1%}" for name, chance in list(classes.items())[: asked.top])
            print(f"{path}: {likely}{note}")
    for message in refused.values():
        print(f"error: {message}", file=sys.stderr)
    return step.RefusedError.status if refused else 0


if __name__ == "__main__":
    sys.exit(main())
