"""Private interfaces of Prefect: each exists in the installed release."""

import prefect
import pytest
from prefect.workers.process import ProcessWorker

from flows.cluster.prefect_internals import PRIVATE


@pytest.mark.parametrize("name", PRIVATE)
def test_the_installed_prefect_has_each_private_interface(name: str) -> None:
    worker = ProcessWorker("study")
    assert hasattr(worker, name), f"Prefect {prefect.__version__} has no {name} any more, but {PRIVATE[name]}"
