"""A process that imports the backend: its memory, and its imports."""

import ctypes
import json
import subprocess
import sys
from importlib import import_module

import pytest

from tasks.device.backend import BLOCKED_IMPORTS, block_imports

MEASURE = """
import json, resource, sys, numpy as np
import tasks.{}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(5): np.ones(2**23)
print(json.dumps([faults() - before, [name for name in {} if name in sys.modules]]))
"""


def measure(module: str) -> tuple[int, list[str]]:
    """Count page faults of five arrays, and list needless imports."""
    code = MEASURE.format(module, BLOCKED_IMPORTS)
    faults, imported = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    return faults, imported


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this system's C library is not glibc")
def test_a_training_keeps_freed_memory_and_imports_no_plots_and_no_estimators() -> None:
    """Keras alone would import them: a third of its start."""
    (plain, _), (kept, imported) = measure("params"), measure("train")
    assert kept < plain / 10
    assert imported == []


def test_blocked_imports_fail_and_are_possible_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with block_imports("colorsys", "json"):
        assert import_module("json") is json  # imported before
        with pytest.raises(ImportError):
            import_module("colorsys")
    assert import_module("colorsys").rgb_to_hsv
