"""The reader of predictions.npz, from bytes and of earlier commits."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tasks.metrics.predictions import Predictions, read_predictions, write_predictions

TEST, TRAIN = np.eye(4)[:3], np.full((5, 4), 0.25)
IDS = np.array([1, 2**64 - 1, 5], np.uint64)


def test_what_was_written_is_read_from_a_path_and_from_bytes(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    write_predictions(path, Predictions(np.arange(3), {"train": TRAIN, "test": TEST}, list("abcd"), "digest", 12, IDS))
    for source in (path, BytesIO(path.read_bytes())):
        read = read_predictions(source, ["train", "test"])
        np.testing.assert_array_equal(read.y_true, np.arange(3))
        np.testing.assert_array_equal(read.y_prob["train"], TRAIN)
        np.testing.assert_array_equal(read.y_prob["test"], TEST)
        assert read[2:5] == (list("abcd"), "digest", 12)
        np.testing.assert_array_equal(read.test_ids, IDS)


def test_a_file_of_an_earlier_commit_has_the_test_split_alone() -> None:
    file = BytesIO()
    np.savez_compressed(file, labels=np.arange(3), probabilities=TEST, classes=list("abcd"), images="digest")
    read = read_predictions(BytesIO(file.getvalue()))
    np.testing.assert_array_equal(read.y_prob["test"], TEST)
    assert (read.n_parameters, len(read.test_ids)) == (0, 0)
    with pytest.raises(ValueError, match="train_probabilities"):
        read_predictions(BytesIO(file.getvalue()), ["train"])


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"\x93NUMPY"])
def test_damage_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_predictions(BytesIO(content))
