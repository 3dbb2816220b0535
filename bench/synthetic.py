"""Synthetic photographs in classes that a network can learn.

A texture has an amplitude of 1 / frequency, as natural images have (D. J. Field, "Relations between
the statistics of natural images and the response properties of cortical cells", 1987). A class has a direction and a
tint. The same number of them is the same files, made once and kept in .bench/.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.reference import SCRATCH
from tasks import layouts
from tasks.datasets import packed
from tasks.run.outputs import atomic_outputs

CLASSES = 10
FIELD = 1024  # side of a texture that photographs are cut from, pixels
UPRIGHT, LYING = (500, 375), (375, 500)  # height and width; a quarter of them stand
CONTRAST = 35  # standard deviation of the brightness, of 255: some 90 KB a file

Field = NDArray[np.float32]


def photographs(n: int) -> Path:
    """Make a folder of n JPEG photographs, as files and as `packed`."""
    folder = SCRATCH / f"photographs-{n}"
    if not folder.exists():
        print(f"bench: making {folder}", flush=True)
        with atomic_outputs(folder) as (made,):
            parts = (joblib.delayed(_write_class)(made / "files", label, n) for label in range(CLASSES))
            joblib.Parallel(n_jobs=joblib.cpu_count())(parts)
            (made / "packed").mkdir()
            packed.write_packed(made / "packed", layouts.read_examples(made / "files"))
    return folder


def small_images(folder: Path, n: int) -> None:
    """Make n PNG images of 8 × 8 pixels in class folders."""
    rng = np.random.default_rng(0)
    for number in range(n):
        file = folder / f"class-{number % CLASSES}" / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)


def _write_class(files: Path, label: int, n: int) -> None:
    folder = files / f"class-{label}"
    folder.mkdir(parents=True)
    for number, content in enumerate(_contents(label, len(range(label, n, CLASSES)))):
        (folder / f"{number:05}.jpg").write_bytes(content)


def _contents(label: int, n: int) -> Iterator[bytes]:
    rng = np.random.default_rng(label)
    streaks, plain, colour = _field(rng, np.pi * label / CLASSES), _field(rng), _field(rng)
    tint = rng.uniform(-12, 12, 3).astype(np.float32)
    for _ in range(n):
        shape = UPRIGHT if rng.random() < 0.25 else LYING
        brightness = rng.uniform(100, 156) + CONTRAST * (
            0.8 * _cut(streaks, shape, rng) + 0.6 * _cut(plain, shape, rng)
        )
        pixels = brightness[..., None] + tint * (1 + _cut(colour, shape, rng)[..., None])
        content = io.BytesIO()
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        picture.save(content, "JPEG", quality=int(rng.integers(85, 91)))
        yield content.getvalue()


def _field(rng: np.random.Generator, direction: float | None = None) -> Field:
    """Make a texture of mean 0 and deviation 1, streaked across `direction`."""
    y, x = np.fft.fftfreq(FIELD)[:, None], np.fft.rfftfreq(FIELD)[None]
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    amplitude = 1 / frequency
    if direction is not None:
        amplitude = amplitude * np.cos(np.arctan2(y, x) - direction) ** 4
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((FIELD, FIELD))) * amplitude)
    scaled: Field = (values / values.std()).astype(np.float32)
    return scaled


def _cut(field: Field, shape: tuple[int, int], rng: np.random.Generator) -> Field:
    top, left = (int(rng.integers(FIELD - side)) for side in shape)
    return field[top : top + shape[0], left : left + shape[1]]
