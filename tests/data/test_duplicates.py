"""Duplicates: planted copies are found and told apart, and what is no copy is left alone."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tasks.data import duplicates, images
from tasks.data.duplicates import Pair
from tests.support.pictures import encoded

SIDE = 96


def photograph(seed: int, side: int = 240) -> Image.Image:
    """A picture with the spectrum of photographs: noise whose amplitude falls with its frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = rng.normal(size=(3, side, side)) + 1j * rng.normal(size=(3, side, side))
    waves = np.fft.ifft2(spectrum / np.maximum(frequency, 1 / side)).real
    waves = 0.8 * waves[:1] + 0.2 * waves  # colours go together
    scaled = 128 + 45 * (waves - waves.mean()) / waves.std()
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def saved_again(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=60))).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "equal pixels": lambda image: image.copy(),
    "saved again": saved_again,
    "resized": lambda image: saved_again(image.resize((150, 150))),
    "recoloured": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": lambda image: saved_again(ImageOps.mirror(image)),
}


def find(pictures: list[Image.Image], contents: list[str] | None = None) -> list[Pair]:
    fitted = [
        images.resize_picture(images.Picture(np.asarray(one), (), one.size), (SIDE, SIDE), "crop").pixels
        for one in pictures
    ]
    names = contents or [str(row) for row in range(len(pictures))]
    sizes = np.array([picture.size for picture in pictures])
    return found(parts(np.stack(fitted)), names, sizes)


def found(parts: Iterator[np.ndarray], names: list[str], sizes: np.ndarray, equal_only: bool = False) -> list[Pair]:
    signatures = duplicates.compute_signatures(parts)
    return duplicates.find_duplicates(signatures, names, sizes, equal_only=equal_only)


def parts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), 64):
        yield pixels[start : start + 64]


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return [photograph(seed) for seed in range(30)]


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_told_apart(originals: list[Image.Image], kind: str) -> None:
    copies = [COPIES[kind](image) for image in originals[:15]]
    assert find([*originals, *copies]) == [Pair(30 + number, number, kind) for number in range(15)]


SYMMETRIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "left and right": lambda half: np.concatenate([half[:, :48], half[:, :48][:, ::-1]], axis=1),
    "above and below": lambda half: np.concatenate([half[:48], half[:48][::-1]]),
}


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("kind", ["saved again", "resized"])
def test_copies_of_symmetric_pictures_are_found(symmetry: str, kind: str) -> None:
    symmetric = [
        Image.fromarray(SYMMETRIES[symmetry](np.asarray(photograph(seed).resize((96, 96))))) for seed in range(60)
    ]
    copies = [saved_again(image) if kind == "saved again" else image.resize((48, 48)) for image in symmetric]
    pairs = {(pair.row, pair.other) for pair in find([*symmetric, *copies])}
    assert {(60 + number, number) for number in range(60)} <= pairs


def test_distinct_pictures_are_no_duplicates() -> None:
    blurred = [photograph(seed, 48).filter(ImageFilter.GaussianBlur(4)).resize((96, 96)) for seed in range(600)]
    assert find(blurred) == []


def test_pictures_of_one_colour_are_no_duplicates_unless_they_are_equal() -> None:
    colours = [(value, value // 2, 255 - value) for value in range(0, 250, 5)]
    plain = [Image.new("RGB", (SIDE, SIDE), colour) for colour in [*colours, colours[7]]]
    assert find(plain) == [Pair(50, 7, "equal pixels")]


def test_many_equal_pictures_are_paired_with_the_first_alone(originals: list[Image.Image]) -> None:
    kinds = ["identical", "equal pixels"] * 49
    contents = ["a", *("a" if kind == "identical" else "b" for kind in kinds)]
    assert find([originals[0]] * 99, contents) == [Pair(row, 0, kind) for row, kind in enumerate(kinds, 1)]


@pytest.mark.parametrize("side", [8, 20, 31, 33])
def test_small_and_odd_sizes_are_compared(side: int) -> None:
    small = np.stack([np.asarray(photograph(seed).resize((side, side + 3))) for seed in range(20)])
    pixels = np.concatenate([small, small[:3, :, ::-1]])
    assert found(iter([pixels]), [str(row) for row in range(23)], np.full((23, 2), side)) == [
        Pair(20 + number, number, "mirrored") for number in range(3)
    ]


def test_without_copies_only_equal_pixels_count(originals: list[Image.Image]) -> None:
    copies = [make(originals[number]) for number, make in enumerate(COPIES.values())]
    pixels = np.stack([np.asarray(image.resize((SIDE, SIDE))) for image in [*originals, *copies]])
    names, sizes = [str(row) for row in range(35)], np.full((35, 2), SIDE)
    assert len(found(parts(pixels), names, sizes)) == 5
    assert found(parts(pixels), names, sizes, equal_only=True) == [Pair(30, 0, "equal pixels")]


def test_strict_connects_what_has_similar_descriptors(originals: list[Image.Image]) -> None:
    """A series, each like the next; another picture; a copy that hashes find, too."""
    pixels = np.stack([np.asarray(image.resize((SIDE, SIDE))) for image in [*originals[:5], originals[4]]])
    angles = np.radians([0, 18, 36, 54, 120, 120])  # 0.95 is the cosine of 18°
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    signatures = duplicates.compute_signatures(parts(pixels))._replace(descriptors=vectors)
    pairs = duplicates.find_duplicates(signatures, list("abcdef"), np.full((6, 2), SIDE))
    assert pairs == [*(Pair(row, row - 1, "alike") for row in (1, 2, 3)), Pair(5, 4, "equal pixels")]
