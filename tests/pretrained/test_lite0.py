"""Descriptors of pictures: those of a series in several colours are similar."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tasks.data.duplicates import MIN_SIMILARITY
from tasks.pretrained import lite0
from tests.support.arrays import BACKBONE


def balloon(colour: str, x: int = 48) -> np.ndarray:
    image = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - 22, 10, x + 22, 64), fill=colour, outline="black")
    draw.line((x, 64, x - 4, 90), fill="black")
    return np.asarray(image)


def house() -> np.ndarray:
    image = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(image)
    draw.polygon(((10, 45), (48, 12), (86, 45)), fill="brown")
    draw.rectangle((18, 45, 78, 88), fill="beige", outline="black")
    draw.rectangle((42, 60, 56, 88), fill="blue")
    return np.asarray(image)


def test_a_drawing_in_other_colours_is_alike_and_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where features are kept
    pictures = np.stack([balloon("red"), balloon("teal"), balloon("purple", 50), house()])
    vectors = lite0.describe_pictures([pictures[:2], pictures[2:]], BACKBONE)
    assert vectors.shape == (4, 1280)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T >= MIN_SIMILARITY
    assert similar[:3, :3].all()
    assert not similar[3, :3].any()
