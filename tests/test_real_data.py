"""One epoch of the committed default on the real data set, through the committed graph."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.parameters import edit


@pytest.mark.slow
def test_one_epoch_on_cifar10_learns_and_does_not_leak(tmp_path: Path) -> None:
    """Chance is 10 %; a leak of labels into training would reach far above 75 % here."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    clone = Clone(tmp_path / "clone")
    del clone.environment["XDG_CACHE_HOME"]  # the user's own: it may hold the archive already
    edit(clone.path / "params.yaml", train__epochs=1)
    clone.run("dvc", "repro")
    metrics = json.loads((clone.path / "reports/metrics.json").read_text())
    assert 0.40 < metrics["test"]["accuracy"] < 0.75
    assert abs(metrics["generalization_gap"]) < 0.05
