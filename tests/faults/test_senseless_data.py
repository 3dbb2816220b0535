"""Data that is well-formed and makes no sense: a named error, and no output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.core import cifar10
from tasks.normalize import normalize
from tasks.step import RefusedError
from tests.conftest import edit

pytestmark = pytest.mark.slow

RAW, DATA = Path("data/raw"), Path("data/normalized")
Records = np.ndarray


def black(records: Records) -> None:
    records[:, 1:] = 0


def without_green(records: Records) -> None:
    records[:, 1025:2049] = 7


def one_class(records: Records) -> None:
    records[:, 0] = 3


def unknown_class(records: Records) -> None:
    records[17, 0] = 10


@pytest.mark.parametrize("method", ["standardize", "rescale"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (black, "every colour channel must vary over the training images; received deviations [0.0, 0.0, 0.0]"),
        (without_green, "every colour channel must vary over the training images"),
        (one_class, "labels: must be of at least 2 classes; received only [3]"),
        (unknown_class, "data_batch_1.bin: record 17: label must be at most 9; received 10"),
    ],
)
def test_images_that_teach_nothing_are_refused(
    workplace: Path, raw_files: dict[str, bytes], method: str, spoil: Callable[[Records], None], says: str
) -> None:
    edit(workplace / "params.yaml", normalize__method=method)
    RAW.mkdir(parents=True)
    for name, content in raw_files.items():
        records = np.frombuffer(content, np.uint8).reshape(cifar10.RECORDS, -1).copy()
        spoil(records)
        records.tofile(RAW / name)
    with pytest.raises(RefusedError) as caught:
        normalize(raw=RAW, normalized=DATA)
    assert says in str(caught.value)
    assert not DATA.exists()
    assert [path.name for path in DATA.parent.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_images": 50_000}, "train_images: must be at most 49,000, what validation leaves; received 50,000"),
        ({"validation_fraction": 0.0001, "train_images": None}, "validation_fraction: 0.0001 parts 50,000 images"),
        ({"validation_fraction": 0.99999, "train_images": None}, "validation_fraction: 0.99999 parts 50,000 images"),
    ],
)
def test_a_split_that_cannot_hold_every_class_is_refused(
    workplace: Path, raw_files: dict[str, bytes], changes: dict[str, float], says: str
) -> None:
    edit(workplace / "params.yaml", **{f"normalize__{key}": value for key, value in changes.items()})
    RAW.mkdir(parents=True)
    for name, content in raw_files.items():
        (RAW / name).write_bytes(content)
    with pytest.raises(RefusedError, match=says):
        normalize(raw=RAW, normalized=DATA)
    assert not DATA.exists()
