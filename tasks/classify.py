"""What is on these images? The trained model's answer, with calibrated probabilities.

`python -m tasks.classify IMAGE… [--top N] [--json]`

Takes any image files, as a browser shows them on a white page; what is not 32 × 32 pixels is resized, and what was
changed is noted. The model is loaded in safe mode, so that one which carries code is refused. Ends with 2 when a file
is no image; the others are still classified.
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from tasks import runtime, saved_model, step
from tasks.core import images
from tasks.core.calibration import apply_temperature
from tasks.core.inference import predict

SIDE = 32  # pixels
BATCH_SIZE = 500


def read_image(path: Path) -> images.Picture:
    """A picture as the model takes it, of 32 × 32 pixels, and notes on what had to be changed.

    Raises
    ------
    tasks.step.RefusedError
        If the file cannot be read as an image.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe waits for who writes into it
            raise step.RefusedError(f"{path}: must be an image, such as a PNG or JPEG file: it is no regular file")
        with path.open("rb") as file:
            return images.fit(images.read(file), SIDE)
    except OSError as error:
        why = error.strerror or error
        raise step.RefusedError(f"{path}: must be an image, such as a PNG or JPEG file: {why}") from error
    except images.PictureError as error:
        raise step.RefusedError(f"{path}: {error}") from error


def artifacts() -> dict[str, Path]:
    """Where dvc.yaml keeps the model and its calibration.

    Raises
    ------
    tasks.step.RefusedError
        If they have not been made.
    """
    listed = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["artifacts"]
    paths = {name: Path(listed[name]["path"]) for name in ("classifier", "calibration")}
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


def classify(pixels: list[NDArray[np.uint8]], paths: dict[str, Path]) -> list[dict[str, float]]:
    """For each image, the calibrated probability of every class by name, most probable first."""
    runtime.prepare("cpu")  # a few images are not worth a GPU's start
    calibration = _read_calibration(paths["calibration"])
    names = calibration["classes"]
    model = saved_model.load(paths["classifier"], (SIDE, SIDE, 3), len(names))
    raw = predict(model, np.stack(pixels), BATCH_SIZE, calibration["mirror"])
    if calibration["temperature"] is None:
        print("note: not calibrated, as there was no validation split to fit a temperature on", file=sys.stderr)
    probabilities = apply_temperature(raw, calibration["temperature"] or 1.0)
    return [{names[label]: float(row[label]) for label in np.argsort(-row, kind="stable")} for row in probabilities]


def shown(text: object) -> str:
    """Text on one line, as a terminal can show it: a file's name may hold any byte but two."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )


def main(arguments: list[str] | None = None) -> int:
    """Classify the files that are named, and print what is on them."""
    parser = argparse.ArgumentParser(prog="python -m tasks.classify", description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="show so many classes, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON: all classes of every image")
    asked = parser.parse_args(arguments)
    read: dict[Path, images.Picture] = {}
    refused: dict[Path, str] = {}
    try:
        paths = artifacts()
        for path in asked.images:
            try:
                read[path] = read_image(path)
            except step.RefusedError as error:
                refused[path] = str(error)
        answers = classify([picture.pixels for picture in read.values()], paths) if read else []
    except step.RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    found = [(path, "; ".join(read[path].notes), classes) for path, classes in zip(read, answers, strict=True)]
    if asked.json:
        entries = [{"image": str(path), "note": note, "classes": classes} for path, note, classes in found]
        print(json.dumps(entries, indent=2))
    else:
        for path, note, classes in found:
            likely = ", ".join(f"{name} {chance:.1%}" for name, chance in list(classes.items())[: asked.top])
            print(shown(f"{path}: {likely}{f'  ({note})' if note else ''}"))
    for message in refused.values():
        print(f"error: {shown(message)}", file=sys.stderr)
    return step.RefusedError.status if refused else 0


if __name__ == "__main__":
    sys.exit(main())
