"""CIFAR-10's six files as a data set."""

from pathlib import Path

import numpy as np
import pytest

from tasks.datasets import cifar10, open_dataset


def test_rows_are_the_records_of_the_files_in_their_order(raw: Path) -> None:
    dataset = open_dataset(raw)
    assert dataset.classes == list(cifar10.CLASS_NAMES) == sorted(dataset.classes)
    assert dataset.labels.dtype == np.int32
    assert dataset.files[10_017] == "data_batch_2.bin/17"
    assert [dataset.splits.index("test"), dataset.splits.count("train"), len(dataset.groups)] == [
        50_000,
        50_000,
        60_000,
    ]
    images, labels = cifar10.decode(np.fromfile(raw / "data_batch_2.bin", np.uint8), "")
    ((row, pixels),) = dataset.reader([10_017])()
    assert (row, dataset.labels[row]) == (10_017, labels[17])
    np.testing.assert_array_equal(pixels, images[17])


def test_ascending_rows_decode_each_file_once(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, decode, decoded = open_dataset(raw), cifar10.decode, []

    def note(content: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(Path(name).name)
        return decode(content, name)

    monkeypatch.setattr(cifar10, "decode", note)
    rows = [5, 9_999, 10_000, 59_999]
    assert [row for row, _ in dataset.reader(rows)()] == rows
    assert decoded == ["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]
