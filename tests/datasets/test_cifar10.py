"""CIFAR-10's binary records, read and refused."""

import numpy as np
import pytest

from tasks.datasets import cifar10


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


def test_a_file_of_the_wrong_size_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"data_batch_2.bin: must have 30,730,000 bytes .* received 5"):
        cifar10.decode(np.zeros(5, np.uint8), "data_batch_2.bin")


def test_a_label_above_nine_is_refused_by_file_and_record() -> None:
    content = np.zeros(cifar10.FILE_BYTES, np.uint8)
    content[3073 * 41] = 10
    with pytest.raises(ValueError, match=r"batch.bin: record 41: label must be at most 9; received 10"):
        cifar10.decode(content, "batch.bin")
