"""The place where machines meet, for the tests of what they hand over to each other."""

from pathlib import Path

import pytest

from tests.support import machines
from tests.support.machines import Meeting


@pytest.fixture(scope="session")
def run_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy pipeline that has been run; to be cloned and never written."""
    return machines.toy(tmp_path_factory.mktemp("toy") / "origin")


@pytest.fixture
def meeting(run_before: Path, tmp_path: Path) -> Meeting:
    return Meeting(tmp_path, run_before)
