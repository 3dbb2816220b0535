"""Normalize as a stage: the splits that it writes, their constants, and refusals."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks.datasets import cifar10
from tasks.errors import RefusedError
from tasks.normalize import normalize
from tasks.run.command_line import RunInfo
from tests.support import ROOT
from tests.support.parameters import SMALL, edit
from tests.support.raw import linked

RAW, OUT, REPORT = Path("raw"), Path("normalized"), Path("dataset.json")


@pytest.fixture
def linked_raw(workplace: Path, raw: Path) -> Path:
    return linked(raw, workplace / RAW)


@pytest.fixture(scope="module")
def normalized(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunInfo]:
    """What small parameters give: the folder, to be read and never written, and what the step says of it."""
    folder = tmp_path_factory.mktemp("normalized")
    shutil.copy(ROOT / "params.yaml", folder)
    edit(folder / "params.yaml", **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / OUT, normalize(raw=raw, normalized=OUT, report_path=REPORT)


def array(folder: Path, name: str) -> np.ndarray:
    loaded: np.ndarray = np.load(folder / f"{name}.npy")
    return loaded


def test_splits_have_the_sizes_of_the_parameters_and_stay_uint8(normalized: tuple[Path, RunInfo]) -> None:
    folder, facts = normalized
    assert facts == {"train": 1000, "validation": 1000, "test": 10_000}
    for split, n in facts.items():
        assert array(folder, f"{split}_images").shape == (n, 32, 32, 3)
        assert [array(folder, f"{split}_{what}").dtype.name for what in ("images", "labels")] == ["uint8", "int32"]
        assert np.bincount(array(folder, f"{split}_labels")).tolist() == [n // 10] * 10
    assert json.loads((folder / "dataset.json").read_text())["classes"][3] == "cat"


def test_every_image_keeps_its_label_and_test_its_order(normalized: tuple[Path, RunInfo], raw: Path) -> None:
    folder, _ = normalized
    images, labels = cifar10.decode(np.fromfile(raw / "test_batch.bin", np.uint8), "test")
    np.testing.assert_array_equal(array(folder, "test_images"), images)
    np.testing.assert_array_equal(array(folder, "test_labels"), labels)
    for split in ("train", "validation"):  # the images show their class as a shade of red
        reds = array(folder, f"{split}_images")[:, 0, 0, 0]
        np.testing.assert_array_equal(reds, array(folder, f"{split}_labels") * 20)


def test_the_constants_come_from_training_pixels_alone(normalized: tuple[Path, RunInfo]) -> None:
    folder, _ = normalized
    constants = json.loads((folder / "dataset.json").read_text())["scaling"]
    pixels = array(folder, "train_images").astype("float64")
    np.testing.assert_allclose(constants["mean"], pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(constants["std"], pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    assert constants["method"] == "standardize"


@pytest.mark.usefixtures("linked_raw")
def test_rescaling_and_no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is decoded twice for its images: once for the labels, once for them; the first for their shape, too."""
    edit(Path("params.yaml"), normalize__method="rescale", normalize__validation_fraction=0)
    decode, decoded = cifar10.decode, Counter[str]()

    def count(content: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        decoded[Path(name).name] += 1
        return decode(content, name)

    monkeypatch.setattr(cifar10, "decode", count)
    assert normalize(raw=RAW, normalized=OUT, report_path=REPORT)["validation"] == 0
    assert decoded == {**dict.fromkeys(cifar10.FILES, 2), cifar10.FILES[0]: 3}
    scaling = json.loads((OUT / "dataset.json").read_text())["scaling"]
    assert scaling == {"method": "rescale", "mean": [0] * 3, "std": [255] * 3}
    assert not list(OUT.glob("validation*"))


@pytest.mark.usefixtures("linked_raw")
def test_the_same_inputs_give_the_same_bytes(normalized: tuple[Path, RunInfo]) -> None:
    normalize(raw=RAW, normalized=OUT, report_path=REPORT)
    assert not Path(".checkpoints").exists()  # nothing is kept where nothing takes time to decode
    first = {file.name: file.read_bytes() for file in normalized[0].iterdir()}
    assert {file.name: file.read_bytes() for file in OUT.iterdir()} == first


def test_a_damaged_raw_file_is_named(workplace: Path, raw: Path) -> None:
    damaged = linked(raw, workplace / RAW, but=("data_batch_4.bin",)) / "data_batch_4.bin"
    content = bytearray((raw / damaged.name).read_bytes())
    content[3073 * 12] = 77
    damaged.write_bytes(content)
    with pytest.raises(RefusedError, match=r"data_batch_4.bin: record 12: label must be at most 9; received 77"):
        normalize(raw=RAW, normalized=OUT, report_path=REPORT)
    damaged.write_bytes(content[:-1])
    with pytest.raises(RefusedError, match=r"data_batch_4.bin: must have 30,730,000 bytes"):
        normalize(raw=RAW, normalized=OUT, report_path=REPORT)
