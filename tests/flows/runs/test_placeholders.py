"""Stages that a run left out are stale until `dvc repro`."""

import json
from pathlib import Path

import pytest

from flows.repo.staleness import stale_reasons
from flows.runs.placeholders import PLACEHOLDER, leave_out_others
from flows.runs.trial import TRIAL_STAGES
from tests.support import machines
from tests.support.toy_pipeline import dvc, git


@pytest.mark.slow
def test_what_was_left_out_is_stale_in_one_line_and_comes_from_the_run_cache(tmp_path: Path) -> None:
    root = machines.toy(tmp_path / "toy")
    page = (root / "reports/index.html").read_text()
    leave_out_others(root, TRIAL_STAGES)
    assert (root / "reports/index.html").read_text() == (root / "reports/evaluation").read_text() == PLACEHOLDER
    assert json.loads(dvc(root, "status", "--json")).keys() == {"report"}
    reasons = {name: list(map(str, found)) for name, found in stale_reasons(root).items() if found}
    assert reasons == {"report": ["on demand: the run that is here left it out"]}
    assert "Running stage" not in dvc(root, "repro")
    assert (root / "reports/index.html").read_text() == page
    assert git(root, "status", "--porcelain") == ""
