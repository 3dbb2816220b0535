"""CIFAR-10 as PNG with labels in JSON: the same bytes, and what is damaged is refused by name."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from tasks.datasets import cifar10
from tasks.fetch import cifar10_png
from tests.support.pictures import chunk, encoded

LABELS = np.zeros(cifar10.RECORDS, np.uint8)
PNG = b"\x89PNG\r\n\x1a\n"


def test_labels_of_training_are_those_of_five_files() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 5 * cifar10.RECORDS)
    by_file = cifar10_png.decode_labels(json.dumps(labels.tolist()).encode(), "train_lables.json")
    assert tuple(by_file) == cifar10.TRAINING_FILES
    np.testing.assert_array_equal(np.concatenate(list(by_file.values())), labels)


@pytest.mark.parametrize("content", [b"[11]", b"[" + b"10," * 9999 + b"1]", b"{", b"[" * 100_000])
def test_a_wrong_file_of_labels_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"test_lables.json must (hold 10,000 labels from 0|be a JSON list)"):
        cifar10_png.decode_labels(content, "test_lables.json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PNG, "is not a readable PNG"),
        (PNG + chunk(b"IHDR", b"short"), "is not a readable PNG"),
        (PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)), "is not a readable PNG"),
        (encoded(Image.new("L", (1024, 10_000)), "PNG"), r"must be RGB of \(1024, 10000\); received L of"),
        (encoded(Image.new("RGB", (10, 10)), "PNG"), r"received RGB of \(10, 10\)"),
    ],
    ids=["cut", "no header", "a bomb", "grey", "small"],
)
def test_a_wrong_png_is_refused_by_name(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=f"test_batch.png {says}" if says[0] != "r" else says):
        cifar10_png.to_binary(content, LABELS, "test_batch.png")
    with pytest.raises(ValueError, match=r"test_batch.png comes without its labels"):
        cifar10_png.to_binary(content, None, "test_batch.png")
