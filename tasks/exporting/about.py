"""What an exported file says of itself: all that its use takes."""

import json
from pathlib import Path
from typing import NamedTuple

from tasks.data import arrays
from tasks.data.digests import compute_md5

ENTRY = "about"  # in the metadata of an ONNX file; `about.json` in the zip at the end of a LiteRT file


class About(NamedTuple):
    """A classifier: its classes, images, calibration and origin."""

    classes: list[str]
    height: int  # of its images, in pixels
    width: int
    fit: str  # crop | pad | stretch: how a picture of another shape is brought to it
    temperature: float | None  # in the graph; None: not calibrated, as nothing was held out
    model: str  # MD5 of the .keras file; the first of `git log --reverse -S MD5 -- dvc.lock` made it
    data: str  # MD5 of data/normalized/dataset.json, which has the digest of every array


def write_about(about: About) -> str:
    """Write JSON: the same bytes for the same values."""
    return json.dumps(about._asdict(), ensure_ascii=False)


def read_about(text: str) -> About:
    """Read JSON, or raise ValueError."""
    try:
        return About(**json.loads(text))
    except TypeError as error:
        raise ValueError(f"its `{ENTRY}` must have {', '.join(About._fields)}; received {text[:80]}") from error


def describe_model(model_path: Path, normalized: Path, temperature: float | None) -> About:
    """Describe a model and the data that it was trained on."""
    height, width = arrays.image_shape(normalized)[:2]
    digests = (compute_md5(path) for path in (model_path, arrays.description_path(normalized)))
    return About(arrays.class_names(normalized), height, width, arrays.resize_mode(normalized), temperature, *digests)
