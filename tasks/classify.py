"""Classify images with the trained model, and print calibrated probabilities.

`python -m tasks.classify IMAGE… [--top N] [--json]`

Images are read as a browser shows them on a white page and resized as the training images were; each change is noted. A
file that is no image ends the command with status 2, after the others are classified. While a run makes another model,
the one of the last report answers: its ONNX file, which needs no TensorFlow, or else its Keras file.
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
from tasks.exporting.about import About
from tasks.exporting.formats import FORMATS, Exported, open_exported, predict_all
from tasks.params import ParameterError, parse
from tasks.params.evaluate import TestTimeAugmentation

DVC_CACHE = Path(".dvc/cache/files/md5")


def main(arguments: list[str] | None = None) -> int:
    """Classify image files, print their classes, and return the exit status."""
    args = _parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            about, predict = _find_classifier(Path(folder))
        pictures, refusals = _read_images(args.images, (about.height, about.width), about.fit)
        if about.temperature is None and pictures:
            print("note: not calibrated, as there was no validation split to fit a temperature on", file=sys.stderr)
        pixels = [picture.pixels for picture in pictures.values()]
        results = _rank(about.classes, predict_all(predict, np.stack(pixels))) if pixels else []
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


def _rank(names: list[str], probabilities: NDArray[np.float64]) -> list[dict[str, float]]:
    """List the probabilities of each image by class, most probable first."""
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


def _find_classifier(temporary: Path) -> Exported:
    """Find the calibration, and the model that it belongs to.

    DVC removes a stage's outputs before the stage runs, but keeps those of the last run in its cache. Between stages
    train and report the new model stands beside the old calibration.
    """
    artifacts = parse(Path("dvc.yaml"))["artifacts"]
    model_path, calibration_path, exports = (
        Path(artifacts[name]["path"]) for name in ("classifier", "calibration", "exports")
    )
    if not calibration_path.exists():
        raise errors.RefusedError(f"{calibration_path} must exist; `dvc repro` makes it, or a run that is at work does")
    about, augmentation = _read_calibration(calibration_path)
    if augmentation == "none" and (file := exports / FORMATS["onnx"].file).is_file():
        try:
            exported = open_exported("onnx", exports)
            if exported.about._replace(temperature=about.temperature) == about:  # which may differ in its last digits
                return exported
            print(f"note: {file} is of another run; {model_path} answers", file=sys.stderr)
        except errors.RefusedError as error:
            print(f"note: {error}; until then {model_path} answers", file=sys.stderr)
    return _open_keras(_find_keras_file(model_path, calibration_path, about.model, temporary), about, augmentation)


def _find_keras_file(model_path: Path, calibration_path: Path, digest: str, temporary: Path) -> Path:
    if model_path.exists() and compute_md5(model_path) == digest:
        return model_path
    cached = DVC_CACHE / digest[:2] / digest[2:]
    if not cached.is_file():
        rule = f"must be the model of {calibration_path}, whose MD5 is {digest}"
        raise errors.RefusedError(f"{model_path} {rule}; `dvc repro` makes both, or a run that is at work does")
    print("note: a run has begun and not ended; the model of the last report answers", file=sys.stderr)
    named = temporary / model_path.name  # Keras goes by the suffix
    named.symlink_to(cached.resolve())
    return named


def _open_keras(path: Path, about: About, augmentation: str) -> Exported:
    """Open a Keras file as the exported files are opened."""
    from tasks.device import runtime  # seconds, which an ONNX file saves
    from tasks.metrics.calibration import apply_temperature
    from tasks.models import inference, saved_model

    runtime.prepare("cpu")  # a few images are not worth a GPU's start
    model = saved_model.load_model(path, (about.height, about.width, 3), len(about.classes))

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        y_prob = inference.predict(model, pixels, len(pixels), augmentation)
        return apply_temperature(y_prob, about.temperature or 1.0)

    return Exported(about, predict)


def _read_calibration(path: Path) -> tuple[About, str]:
    """Read what the report says of its model, and its test-time augmentation."""
    try:
        calibration: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        augmentation = calibration.pop("test_time_augmentation")
        about = About(**calibration)
        if (
            not all(isinstance(name, str) for name in (*about.classes, about.model))
            or not (about.temperature is None or about.temperature > 0)
            or about.fit not in images.RESIZE_MODES
            or augmentation not in get_args(TestTimeAugmentation)
        ):
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        rule = f"must hold {', '.join(About._fields)} and `test_time_augmentation`, with a temperature above 0"
        raise errors.RefusedError(f"{path} {rule}; `make doctor` restores it, `dvc repro` makes it anew") from error
    return about, augmentation


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
