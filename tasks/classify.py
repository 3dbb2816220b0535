"""Classify images with the trained model, and print calibrated probabilities.

`python -m tasks.classify IMAGE… [--top N] [--json]`

Images are read as a browser shows them on a white page and resized as the training images were; each change is noted. A
file that is no image ends the command with status 2, after the others are classified. While a run makes another model,
the one of the last report answers.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import images
from tasks.data.digests import compute_md5
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.metrics.calibration import apply_temperature
from tasks.models import saved_model
from tasks.models.inference import predict
from tasks.params import ParameterError, parse
from tasks.params.evaluate import TestTimeAugmentation

BATCH_SIZE = 500
DVC_CACHE = Path(".dvc/cache/files/md5")


def main(arguments: list[str] | None = None) -> int:
    """Classify image files, print their classes, and return the exit status."""
    args = _parse_arguments(arguments)
    try:
        runtime.prepare("cpu")  # a few images are not worth a GPU's start
        with tempfile.TemporaryDirectory() as folder:
            model_path, calibration = _find_artifacts(Path(folder))
            model = saved_model.load_model(model_path, None, len(calibration["classes"]))
            resize_mode = saved_model.read_resize_mode(model_path)
        pictures, refusals = _read_images(args.images, model.input_shape[1:3], resize_mode)
        results = _classify(model, calibration, [picture.pixels for picture in pictures.values()])
    except (errors.RefusedError, ParameterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return errors.RefusedError.status
    rows: list[dict[str, Any]] = [
        {"image": str(path), "note": "; ".join(picture.notes), "classes": classes}
        for (path, picture), classes in zip(pictures.items(), results, strict=True)
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            top = [f"{name} {probability:.1%}" for name, probability in row["classes"].items()]
            note = f"  ({row['note']})" if row["note"] else ""
            print(_escape(f"{row['image']}: {', '.join(top[: args.top])}{note}"))
    for message in refusals:
        print(_escape(f"error: {message}"), file=sys.stderr)
    return errors.RefusedError.status if refusals else 0


def _classify(
    model: keras.Model, calibration: dict[str, Any], pixels: list[NDArray[np.uint8]]
) -> list[dict[str, float]]:
    """Predict calibrated probabilities by class, most probable first."""
    if not pixels:
        return []
    names = calibration["classes"]
    uncalibrated = predict(model, np.stack(pixels), BATCH_SIZE, calibration["test_time_augmentation"])
    if calibration["temperature"] is None:
        print("note: not calibrated, as there was no validation split to fit a temperature on", file=sys.stderr)
    probabilities = apply_temperature(uncalibrated, calibration["temperature"] or 1.0)
    return [{names[label]: float(row[label]) for label in np.argsort(-row, kind="stable")} for row in probabilities]


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.classify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="show the N most probable classes, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON: all classes of every image")
    args = parser.parse_args(arguments)
    if args.top < 1:
        parser.error(f"--top must be at least 1; received {args.top}")
    return args


def _find_artifacts(temporary: Path) -> tuple[Path, dict[str, Any]]:
    """Find the calibration, and the model that it belongs to.

    DVC removes a stage's outputs before the stage runs, but keeps those of the last run in its cache. Between stages
    train and report the new model stands beside the old calibration.
    """
    artifacts = parse(Path("dvc.yaml"))["artifacts"]
    model_path, calibration_path = (Path(artifacts[name]["path"]) for name in ("classifier", "calibration"))
    if not calibration_path.exists():
        raise errors.RefusedError(f"{calibration_path} must exist; `dvc repro` makes it, or a run that is at work does")
    calibration = _read_calibration(calibration_path)
    digest = calibration["model"]
    if model_path.exists() and compute_md5(model_path) == digest:
        return model_path, calibration
    cached = DVC_CACHE / digest[:2] / digest[2:]
    if not cached.is_file():
        rule = f"must be the model of {calibration_path}, whose MD5 is {digest}"
        raise errors.RefusedError(f"{model_path} {rule}; `dvc repro` makes both, or a run that is at work does")
    print("note: a run has begun and not ended; the model of the last report answers", file=sys.stderr)
    named = temporary / model_path.name  # Keras goes by the suffix
    named.symlink_to(cached.resolve())
    return named, calibration


def _read_calibration(path: Path) -> dict[str, Any]:
    try:
        calibration: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names, temperature = calibration["classes"], calibration["temperature"]
        if (
            not all(isinstance(name, str) for name in (*names, calibration["model"]))
            or not (temperature is None or temperature > 0)
            or calibration["test_time_augmentation"] not in get_args(TestTimeAugmentation)
        ):
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        rule = "must hold class names, a temperature above 0, `test_time_augmentation` and the digest of its model"
        raise errors.RefusedError(f"{path} {rule}; `make doctor` restores it, `dvc repro` makes it anew") from error
    return calibration


def _read_images(
    paths: Iterable[Path], shape: tuple[int, int], fit: str
) -> tuple[dict[Path, images.Picture], list[str]]:
    """Read each file once; collect a message for each failure."""
    pictures: dict[Path, images.Picture] = {}
    refusals = []
    for path in dict.fromkeys(paths):
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait until somebody writes into it
                raise images.PictureError("must be an image, such as a PNG or JPEG file: it is no regular file")
            with path.open("rb") as file:
                pictures[path] = images.read_resized_picture(file, shape, fit)
        except images.PictureError as error:
            refusals.append(f"{path}: {error}")
        except OSError as error:
            refusals.append(f"{path}: must be an image, such as a PNG or JPEG file: {error.strerror or error}")
    return pictures, refusals


def _escape(text: str) -> str:
    """Escape characters that a terminal cannot show on one line."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a trace
    sys.exit(main())
