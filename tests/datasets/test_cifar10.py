"""CIFAR-10's six files: their records, what is refused, and their data set."""

from pathlib import Path

import numpy as np
import pytest

from tasks.datasets import cifar10, open_dataset, select_classes


def test_decoding_gives_back_what_was_encoded(raw_files: dict[str, bytes]) -> None:
    content = np.frombuffer(raw_files["test_batch.bin"], np.uint8)
    images, labels = cifar10.decode(content, "test_batch.bin")
    assert images.shape == (10_000, 32, 32, 3)
    assert cifar10.encode(images, labels) == raw_files["test_batch.bin"]


def test_a_record_is_a_label_and_three_planes() -> None:
    content = np.zeros(cifar10.FILE_BYTES, np.uint8)
    content[:3073] = [7] + [1] * 1024 + [2] * 1024 + [3] * 1024
    content[2] = 99  # second red pixel of the first row
    images, labels = cifar10.decode(content, "file")
    assert labels[0] == 7
    assert images[0, 0, 1].tolist() == [99, 2, 3]
    assert images[0, 1, 0].tolist() == [1, 2, 3]


def test_a_label_above_nine_is_refused_by_file_and_record() -> None:
    content = np.zeros(cifar10.FILE_BYTES, np.uint8)
    content[3073 * 41] = 10
    with pytest.raises(ValueError, match=r"batch.bin: record 41: label must be at most 9; received 10"):
        cifar10.decode(content, "batch.bin")


def test_rows_are_the_records_of_the_files_in_their_order(raw: Path) -> None:
    dataset = open_dataset(raw)
    assert dataset.classes == list(cifar10.CLASS_NAMES) == sorted(dataset.classes)
    assert dataset.labels.dtype == np.int32
    assert dataset.files[10_017] == "data_batch_2.bin/17"
    assert dataset.splits == ["train"] * 50_000 + ["test"] * 10_000
    images, labels = cifar10.decode(np.fromfile(raw / "data_batch_2.bin", np.uint8), "")
    ((row, pixels),) = dataset.reader([10_017])()
    assert (row, dataset.labels[row]) == (10_017, labels[17])
    np.testing.assert_array_equal(pixels, images[17])


def test_some_classes_keep_their_rows_pixels_and_names(raw: Path) -> None:
    whole, some = open_dataset(raw), open_dataset(raw)
    select_classes(some, ("ship", "cat"))
    rows = [row for row, label in enumerate(whole.labels) if whole.classes[label] in {"cat", "ship"}]
    assert some.classes == ["cat", "ship"]
    assert some.labels.dtype == np.int32
    assert [some.classes[label] for label in some.labels] == [whole.classes[whole.labels[row]] for row in rows]
    for column in ("files", "splits", "groups", "contents"):
        assert getattr(some, column) == [getattr(whole, column)[row] for row in rows]
    expected = dict(whole.reader(rows)())
    for number, pixels in some.reader(range(len(rows)))():
        np.testing.assert_array_equal(pixels, expected[rows[number]])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cats", "ship"), "received cats; did you mean cat?"),
        (("cat", "cat"), "at least two classes; received cat, cat"),
    ],
)
def test_classes_that_are_not_there_or_too_few_are_refused(raw: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_classes(open_dataset(raw), names)
