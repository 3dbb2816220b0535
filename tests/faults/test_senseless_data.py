"""Well-formed data that makes no sense: an error, and no output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.datasets import cifar10
from tasks.errors import RefusedError
from tasks.normalize import normalize
from tests.support.parameters import edit
from tests.support.raw import linked

pytestmark = pytest.mark.slow

RAW, DATA, REPORT = Path("data/raw"), Path("data/normalized"), Path("reports/dataset.json")


# The values of some records, and the rule that they break.
REFUSED: dict[str, tuple[Any, int, str]] = {
    "black": (np.s_[:, 1:], 0, "every colour channel must vary over the training images; received deviations [0.0, "),
    "without green": (np.s_[:, 1025:2049], 7, "every colour channel must vary over the training images"),
    "one class": (np.s_[:, 0], 3, "labels: must be of at least 2 classes; received only [3]"),
    "unknown class": (np.s_[17, 0], 10, "data_batch_1.bin: record 17: label must be at most 9; received 10"),
}


@pytest.fixture(scope="module", params=REFUSED)
def spoiled(request: pytest.FixtureRequest, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Spoil six files, and return the rule that they break."""
    place, value, rule = REFUSED[request.param]
    folder = tmp_path_factory.mktemp("spoiled")
    first, *others = cifar10.FILES
    records = np.fromfile(raw / first, np.uint8).reshape(cifar10.RECORDS, -1)
    records[place] = value
    records.tofile(folder / first)
    for name in others:
        (folder / name).hardlink_to(folder / first)
    return folder, rule


@pytest.mark.parametrize("method", ["standardize", "rescale"])
def test_images_that_teach_nothing_are_refused(workplace: Path, spoiled: tuple[Path, str], method: str) -> None:
    folder, says = spoiled
    edit(workplace / "params.yaml", normalize__method=method)
    linked(folder, RAW)
    with pytest.raises(RefusedError) as caught:
        normalize(raw=RAW, normalized=DATA, report_path=REPORT)
    assert says in str(caught.value)
    assert not DATA.exists()
    assert [path.name for path in DATA.parent.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_images": 50_000}, "train_images: must be at most 49,000, what validation leaves; received 50,000"),
        ({"validation_fraction": 0.0001, "train_images": None}, "validation_fraction: 0.0001 divides 50,000 images"),
        ({"validation_fraction": 0.99999, "train_images": None}, "validation_fraction: 0.99999 divides 50,000 images"),
    ],
)
def test_a_split_that_cannot_hold_every_class_is_refused(
    workplace: Path, raw: Path, changes: dict[str, float], says: str
) -> None:
    edit(workplace / "params.yaml", **{f"normalize__{key}": value for key, value in changes.items()})
    linked(raw, RAW)
    with pytest.raises(RefusedError, match=says):
        normalize(raw=RAW, normalized=DATA, report_path=REPORT)
    assert not DATA.exists()
