"""What a look at own images finds, the settings that suit them, and the time that these take.

File names and headers are read, and a few images decoded to time that.
"""

import io
import itertools
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import joblib
import numpy as np
from PIL import Image

from flows.runs.parameters import variant_settings
from tasks import layouts
from tasks.data import images
from tasks.datasets import check_classes
from tasks.datasets.packed import Example
from tasks.layouts import rules
from tasks.layouts.folder import Folder

LOOKED_AT = 20_000  # headers, which take some seconds
TIMED = 25  # images that are decoded
# What suits so many training images, by the measurements in docs/data.md and docs/few-images.md.
FEW = 250  # below, a probe reaches more than fine-tuning
MANY = 20_000  # from here on, small images are trained on from scratch: fine-tuning would take hours
SMALL = 64  # pixels; the longest side of small images
MOST_LOST = 0.5  # share of a picture that is left when its middle is cut out
SHARE_CROPPED = 0.05  # of the images may lose more than that
INPUT = 128  # pixels; the side at which the variants with pretrained weights look at images
# For `estimate_seconds`, measured on two cores of a Zen 5: seconds of a product of two matrices of 1,024 × 1,024, and
# multiply-adds a second of each network.
MATRIX_SECONDS = 0.02
RATES = {"efficientnet_lite0": 3e10, "whitened_cnn": 1e11}
EFFICIENTNET_WORK = 8e3  # multiply-adds for each pixel
STARTS = 25  # seconds in which five stages load their libraries


class Seen(NamedTuple):
    """What a look at images found."""

    examples: list[Example]
    sizes: list[tuple[int, int]]  # width and height of each that was looked at and can be read
    unreadable: list[str]
    decoding: float  # seconds of one image, on average


def look(path: Path, classes: list[str] | None) -> Seen:
    """Read names and headers of images; RefusedError and ValueError say what is wrong."""
    files, outer, examples = layouts.find_examples(path)
    rules.check_examples(examples)
    if classes:
        check_classes(classes, sorted({example.label for example in examples}))
        examples = [example for example in examples if example.label in classes]
    wanted = [outer + example.file for example in examples[:: len(examples) // LOOKED_AT + 1]]
    sizes: list[tuple[int, int]] = []
    unreadable, seconds = [], []
    for number, (name, file) in enumerate(_open_each(files, wanted)):
        with file:
            if (size := _read_size(file)) is None:
                unreadable.append(name)
                continue
            sizes.append(size)
            if number % (len(wanted) // TIMED + 1) == 0:
                began = time.perf_counter()
                with suppress(images.PictureError):
                    file.seek(0)
                    images.read_resized_picture(file, (INPUT, INPUT), "pad")
                seconds.append(time.perf_counter() - began)
    if not sizes:
        raise ValueError(f"images must be readable; received {rules.shorten(unreadable)}")
    return Seen(examples, sizes, unreadable, statistics.mean(seconds or [0.0]))


def _open_each(files: layouts.Files, wanted: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    if isinstance(files, Folder):
        yield from ((name, (files.root / name).open("rb")) for name in wanted)
    else:
        yield from ((name, io.BytesIO(content)) for name, content in files.read(set(wanted)))


def _read_size(file: IO[bytes]) -> tuple[int, int] | None:
    """Read width and height from a header; None for what stage normalize cannot read."""
    with suppress(Exception), warnings.catch_warnings():  # each of Pillow's formats has its own errors
        warnings.simplefilter("ignore")
        with Image.open(file, formats=images.FORMATS) as image:
            return image.size if image.width * image.height <= images.MAX_PIXELS else None
    return None


def describe(seen: Seen) -> list[str]:
    """Describe images in a line for each: classes, sides, splits, and what cannot be read."""
    examples, sizes, unreadable, _ = seen
    classes = Counter(example.label for example in examples)
    counts = rules.shorten([f"{label} {count:,}" for label, count in classes.most_common()])
    splits = Counter(example.split for example in examples if example.split)
    sides = [side for size in sizes for side in size]
    some = f" ({len(sizes):,} looked at)" if len(sizes) + len(unreadable) < len(examples) else ""
    return [
        f"{len(examples):,} images of {len(classes):,} classes: {counts}",
        f"sides of {min(sides):,} to {max(sides):,} pixels, {statistics.median_low(sides):,} in the middle{some}",
        "split: " + (", ".join(f"{n:,} {split}" for split, n in splits.items()) or "none given, so one will be drawn"),
        *([f"left out, as they cannot be read: {rules.shorten(unreadable)}"] if unreadable else []),
    ]


def choose_settings(
    content: dict[str, Any], seen: Seen, classes: list[str] | None, variant: str | None
) -> tuple[dict[str, Any], str]:
    """Choose settings by dotted key, and say why this variant."""
    longer, shorter = np.max(seen.sizes, axis=1), np.min(seen.sizes, axis=1)
    side = int(np.median(longer))
    reason = f"variant {variant}: as you say"
    if not variant:
        variant, why = choose_variant(_count_training(content["normalize"], seen.examples), side)
        reason = f"variant {variant}: {why}"
    settings = variant_settings(content, variant)
    is_one_size = len(set(seen.sizes)) == 1 and longer[0] != shorter[0] and side <= INPUT
    return {
        **settings,
        "normalize.size": None if is_one_size else min(side, settings.get("normalize.size") or INPUT),
        "normalize.fit": "pad" if np.mean(shorter / longer < MOST_LOST) > SHARE_CROPPED else "crop",
        "normalize.classes": sorted(set(classes)) if classes else None,
        **({"normalize.unreadable": "skip"} if seen.unreadable else {}),
    }, reason


def choose_variant(n_training: int, side: int) -> tuple[str, str]:
    """Choose a variant by the number of training images and their side; say why."""
    if n_training >= MANY and side <= SMALL:
        return "quick", f"some {n_training:,} small training images are enough to train from scratch"
    if n_training < FEW:
        return "probe", f"some {n_training:,} training images are too few to train more than the last layer"
    return "fine_tune", f"with some {n_training:,} training images, pretrained weights reach most"


def _count_training(params: dict[str, Any], examples: list[Example]) -> int:
    given = Counter(example.split for example in examples)
    kept = 1 if given["validation"] else 1 - params["validation_fraction"]
    return int((given["train"] or len(examples) * (1 - params["test_fraction"])) * kept)


def estimate_seconds(content: dict[str, Any], seen: Seen) -> float | None:
    """Estimate how long all stages take on this machine's processor; None for a network that was not measured.

    Decoding is timed on some images, and the processor by a product of matrices. Training an image costs three times
    its prediction; each image is predicted once more for the scores, and pretrained features once before.
    """
    model, train = content["model"], content["train"]
    if model["network"] not in RATES:
        return None
    side = model["input_size"] or content["normalize"]["size"] or max(seen.sizes[0])
    if model["network"] == "whitened_cnn":
        filters = [24, *model["filters"]]  # the first of the whitening layer
        work = sum(9 * b * (a + b / 4) / 4**n for n, (a, b) in enumerate(itertools.pairwise(filters)))
    else:
        work = EFFICIENTNET_WORK
    matrix = np.ones((1024, 1024), np.float32)
    began = time.perf_counter()
    for _ in range(5):
        matrix @ matrix
    slower = (time.perf_counter() - began) / 5 / MATRIX_SECONDS
    n, n_training = len(seen.examples), _count_training(content["normalize"], seen.examples)
    epochs = 0 if model["trainable"] == "head" else train["epochs"]
    predictions = n + n_training * (1 + 3 * epochs)
    decoding = n * seen.decoding / joblib.cpu_count()
    return STARTS + decoding + predictions * work * side**2 / RATES[model["network"]] * slower
