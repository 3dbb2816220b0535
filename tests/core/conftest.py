"""TensorFlow takes its threads once a process: as the steps set them, before any test needs it."""

import pytest

from tasks import runtime


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    runtime.prepare()
