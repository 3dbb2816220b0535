"""What an exported file says of itself: all that its use takes."""

import json
from typing import NamedTuple

ENTRY = "about"  # in the metadata of an ONNX file; `about.json` in the zip at the end of a LiteRT file


class About(NamedTuple):
    """The classes of a classifier, how pictures are brought to its size, and its origin."""

    classes: list[str]
    height: int  # of its images, in pixels
    width: int
    fit: str  # crop | pad | stretch: how a picture of another shape is brought to it
    temperature: float | None  # in the graph; None: not calibrated, as nothing was held out
    model: str  # MD5 of the .keras file; `git log -S MD5 -- dvc.lock` finds its commit
    data: str  # MD5 of data/normalized/dataset.json, which has the digest of every array


def write_about(about: About) -> str:
    """Write JSON: the same bytes for the same values."""
    return json.dumps(about._asdict(), ensure_ascii=False)


def read_about(text: str) -> About:
    """Read JSON, or raise ValueError."""
    try:
        return About(**json.loads(text))
    except TypeError as error:
        raise ValueError(f"it must say {', '.join(About._fields)}: {error}") from error
