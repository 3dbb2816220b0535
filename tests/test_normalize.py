from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks.core import cifar10
from tasks.normalize import normalize
from tasks.step import RefusedError
from tests.conftest import edit

RAW, OUT = Path("raw"), Path("normalized")


@pytest.fixture
def raw(workplace: Path, raw_files: dict[str, bytes]) -> Path:
    (workplace / RAW).mkdir()
    for name, content in raw_files.items():
        (workplace / RAW / name).write_bytes(content)
    return workplace / RAW


def array(name: str) -> np.ndarray:
    loaded: np.ndarray = np.load(OUT / f"{name}.npy")
    return loaded


@pytest.mark.usefixtures("raw")
def test_splits_have_the_sizes_of_the_parameters_and_stay_uint8() -> None:
    assert normalize(raw=RAW, normalized=OUT) == {"train": 1000, "validation": 1000, "test": 10_000}
    for split, n in {"train": 1000, "validation": 1000, "test": 10_000}.items():
        assert array(f"{split}_images").shape == (n, 32, 32, 3)
        assert array(f"{split}_images").dtype == array(f"{split}_labels").dtype == np.uint8
        assert np.bincount(array(f"{split}_labels")).tolist() == [n // 10] * 10
    assert json.loads((OUT / "classes.json").read_text())[3] == "cat"


@pytest.mark.usefixtures("raw")
def test_every_image_keeps_its_label_and_test_its_order(raw_files: dict[str, bytes]) -> None:
    normalize(raw=RAW, normalized=OUT)
    images, labels = cifar10.decode(np.frombuffer(raw_files["test_batch.bin"], np.uint8), "test")
    np.testing.assert_array_equal(array("test_images"), images)
    np.testing.assert_array_equal(array("test_labels"), labels)
    for split in ("train", "validation"):  # the images show their class as a shade of red
        np.testing.assert_array_equal(array(f"{split}_images")[:, 0, 0, 0], array(f"{split}_labels") * 20)


@pytest.mark.usefixtures("raw")
def test_the_constants_come_from_training_pixels_alone() -> None:
    normalize(raw=RAW, normalized=OUT)
    constants = json.loads((OUT / "constants.json").read_text())
    pixels = array("train_images").astype("float64")
    np.testing.assert_allclose(constants["mean"], pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(constants["std"], pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    assert constants["method"] == "standardize"


def test_rescaling_and_no_validation(raw: Path) -> None:
    edit(Path("params.yaml"), normalize__method="rescale", normalize__validation_fraction=0)
    assert normalize(raw=RAW, normalized=OUT)["validation"] == 0
    assert json.loads((OUT / "constants.json").read_text()) == {"method": "rescale", "mean": [0] * 3, "std": [255] * 3}
    assert not list(OUT.glob("validation*"))


@pytest.mark.usefixtures("raw")
def test_no_raw_file_is_decoded_more_than_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the labels that the split needs, once for the images of all splits."""
    decode, decoded = cifar10.decode, Counter[str]()

    def count(content: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        decoded[Path(name).name] += 1
        return decode(content, name)

    monkeypatch.setattr(cifar10, "decode", count)
    normalize(raw=RAW, normalized=OUT)
    assert decoded == {**dict.fromkeys(cifar10.TRAINING_FILES, 2), cifar10.TEST_FILE: 1}


@pytest.mark.usefixtures("raw")
def test_the_same_inputs_give_the_same_bytes() -> None:
    for out in ("a", "b"):
        normalize(raw=RAW, normalized=Path(out))
    for file in Path("a").iterdir():
        assert file.read_bytes() == (Path("b") / file.name).read_bytes()


def test_a_damaged_raw_file_is_named(raw: Path) -> None:
    content = bytearray((raw / "data_batch_4.bin").read_bytes())
    content[3073 * 12] = 77
    (raw / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(RefusedError, match=r"data_batch_4.bin: record 12: label must be at most 9; received 77"):
        normalize(raw=RAW, normalized=OUT)
    (raw / "data_batch_4.bin").write_bytes(content[:-1])
    with pytest.raises(RefusedError, match=r"data_batch_4.bin: must have 30,730,000 bytes"):
        normalize(raw=RAW, normalized=OUT)
