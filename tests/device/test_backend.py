"""What happens to a process that imports the backend."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BACKEND = "; from tasks.device import backend"
NEEDLESS = ("matplotlib", "pandas", "sklearn")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this system's C library is not glibc")
def test_freed_memory_is_kept_for_the_next_request() -> None:
    code = (
        "import resource, numpy as np{}\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(2**23)\n"
        "before = faults()\n"
        "for _ in range(5): np.ones(2**23)\n"
        "print(faults() - before)"
    )
    plain, kept = (int(subprocess.check_output([sys.executable, "-c", code.format(how)])) for how in ("", BACKEND))
    assert kept < plain / 10


@pytest.mark.parametrize("module", ["tasks.device.backend", "tasks.train"])
def test_a_training_imports_no_plots_and_no_estimators(module: str) -> None:
    """Keras would, for wrappers that no step uses: a third of its start."""
    code = f"import sys, {module}; print([name for name in {NEEDLESS} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_what_keras_does_without_is_there_for_others() -> None:
    code = (
        "import sklearn; before = sklearn; from tasks.device import backend; import sklearn, pandas, matplotlib.pyplot"
    )
    subprocess.run([sys.executable, "-c", f"{code}; assert sklearn is before"], check=True)
