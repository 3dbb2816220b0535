"""Stage describe: the card from reports on disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import errors
from tasks.describe import describe
from tests.support.parameters import edit
from tests.support.reports import card_reports

CARD = Path("reports/card.md")
PATHS: dict[str, Any] = {
    "counts_path": Path("reports/dataset.json"),
    "metrics_path": Path("reports/metrics.json"),
    "parity_path": Path("reports/export.json"),
    "details": Path("reports/evaluation"),
    "card_path": CARD,
}


@pytest.fixture(autouse=True)
def written(workplace: Path) -> None:
    made, details = card_reports(), PATHS["details"]
    details.mkdir(parents=True)
    files = (*list(PATHS.values())[:3], details / "scores.json", details / "calibration.json")
    for path, report in zip(files, made, strict=True):
        path.write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("images", "network", "said"),
    [
        ("data/cifar10.sha256", "whitened_cnn", "CIFAR-10: its authors' page"),
        ("/photos/flowers.zip", "efficientnet_lite0", "own images: not stated here"),
        ("photos", "efficientnet_lite0", "EfficientNet-Lite0: Apache-2.0"),
        ("photos", "pretrained", "an earlier model: those of its own card"),
    ],
)
def test_licences_are_of_these_images_and_weights(images: str, network: str, said: str) -> None:
    edit(Path("params.yaml"), model__network=network)
    describe(images=Path(images), **PATHS)
    assert f"- {said}" in CARD.read_text()


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"splits": {}}'])
def test_a_damaged_report_is_refused_in_one_line(content: str) -> None:
    (PATHS["details"] / "scores.json").write_text(content)
    with pytest.raises(errors.RefusedError, match=r"scores\.json.+`(make doctor|dvc repro)") as refused:
        describe(images=Path("photos"), **PATHS)
    assert "\n" not in str(refused.value)
    assert not CARD.exists()
