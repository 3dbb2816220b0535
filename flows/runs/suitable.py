"""Settings that suit own images, by their names and headers."""

import io
import statistics
import timeit
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
from tasks.params.model import FEWEST_TO_FINE_TUNE

LOOKED_AT = 20_000  # headers, which take some seconds
MANY = 20_000  # small images, on which training from scratch takes less time than fine-tuning
SMALL, INPUT = 64, 128  # pixels: the longer side of small images; the side at which pretrained weights look at all
# Seconds on two cores of a Zen 5: for libraries to load, of a pixel that is decoded, of a training image in all epochs
# and of a prediction with each variant; and on one core, of a product of two matrices of 64 × 64.
STARTS, PIXEL = 30, 1.5e-8
VARIANTS = {"probe": (0.003, 0.0015), "fine_tune": (0.045, 0.0015), "quick": (0.004, 0.0002)}
PRODUCT = 5.7e-6


class Seen(NamedTuple):
    """What a look at images found."""

    examples: list[Example]
    sizes: list[tuple[int, int]]  # width and height of each that was looked at and can be read
    unreadable: list[str]

    def count_training(self, params: dict[str, Any]) -> int:
        """Count the images to train on, about, by block `normalize`."""
        given = Counter(example.split for example in self.examples)
        if params["folds"]:
            return given["train"] or len(self.examples)
        share = 1 if given["validation"] else 1 - params["validation_fraction"]
        return round((given["train"] or len(self.examples) * (1 - params["test_fraction"])) * share)


def look(path: Path, classes: list[str] | None) -> Seen:
    """Look at the images of some classes, or of all."""
    files, outer, examples = layouts.find_examples(path)
    if classes:
        check_classes(classes, sorted({example.label for example in examples}))
        examples = [example for example in examples if example.label in classes]
    names = [outer + example.file for example in examples[:: len(examples) // LOOKED_AT + 1]]
    sizes: dict[str, tuple[int, int]] = {}
    for name, file in _open_each(files, names):
        with file, suppress(Exception), warnings.catch_warnings():  # each of Pillow's formats has its own errors
            warnings.simplefilter("ignore")
            with Image.open(file, formats=images.FORMATS) as image:
                if image.width * image.height <= images.MAX_PIXELS:
                    sizes[name] = image.size
    unreadable = [name for name in names if name not in sizes]
    if not sizes:
        raise ValueError(f"images must be readable; received {rules.shorten(unreadable)}")
    return Seen(examples, list(sizes.values()), unreadable)


def _open_each(files: layouts.Files, names: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    if isinstance(files, Folder):
        yield from ((name, (files.root / name).open("rb")) for name in names)
    else:
        yield from ((name, io.BytesIO(content)) for name, content in files.read(set(names)))


def describe(seen: Seen, params: dict[str, Any], variant: str) -> list[str]:
    """Describe images and the work to come, line by line."""
    classes = Counter(example.label for example in seen.examples)
    splits = Counter(example.split for example in seen.examples if example.split)
    sides = [side for size in seen.sizes for side in size]
    counts = rules.shorten([f"{label} {n:,}" for label, n in classes.most_common()])
    n_training = seen.count_training(params)
    seconds = estimate_seconds(seen, n_training * max(params["folds"], 1), variant)
    about = (
        f"; `dvc repro` will take about {max(round(seconds / 60), 1)} min if nothing else runs here" if seconds else ""
    )
    return [
        f"{len(seen.examples):,} images of {len(classes):,} classes: {counts}",
        f"sides: {min(sides):,} to {max(sides):,} pixels, median {statistics.median_low(sides):,}, "
        f"by the headers of {len(seen.sizes) + len(seen.unreadable):,} files",
        "split: " + (", ".join(f"{n:,} {split}" for split, n in splits.items()) or "none given, so one is drawn"),
        *(
            [f"left out, as they cannot be read or have more than 100 million pixels: {rules.shorten(seen.unreadable)}"]
            if seen.unreadable
            else []
        ),
        f"variant {variant}, for some {n_training:,} training images{about}",
    ]


def choose_variant(n_training: int, side: int) -> str:
    """Choose the variant that suits so many training images of a side."""
    if n_training < FEWEST_TO_FINE_TUNE:
        return "probe"
    return "quick" if n_training >= MANY and side <= SMALL else "fine_tune"


def choose_settings(content: dict[str, Any], seen: Seen, variant: str | None) -> tuple[str, dict[str, Any]]:
    """Choose a variant, unless it is given, and settings by dotted key."""
    longer, shorter = np.max(seen.sizes, axis=1), np.min(seen.sizes, axis=1)
    side = int(np.median(longer))
    variant = variant or choose_variant(seen.count_training(content["normalize"]), side)
    settings = variant_settings(content, variant)
    settings["normalize.size"] = min(side, settings.get("normalize.size") or INPUT)
    settings["normalize.fit"] = "pad" if np.mean(shorter < longer / 2) > 0.05 else "crop"  # which would lose half
    if seen.unreadable:
        settings["normalize.unreadable"] = "skip"
    return variant, settings


def estimate_seconds(seen: Seen, n_training: int, variant: str) -> float | None:
    """Estimate all stages' time; None for a variant without measurements."""
    if variant not in VARIANTS:
        return None
    matrix = np.ones((64, 64), np.float32)  # so small that one core multiplies it, between the turns of other programs
    product = min(timeit.repeat(lambda: matrix @ matrix, number=50, repeat=50)) / 50
    slower: float = product / PRODUCT * 2 / joblib.cpu_count()
    training, prediction = VARIANTS[variant]
    decoding = PIXEL * statistics.mean(width * height for width, height in seen.sizes)
    return STARTS + slower * (len(seen.examples) * (decoding + prediction) + n_training * training)
