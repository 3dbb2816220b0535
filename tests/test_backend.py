"""What happens to a process that imports the backend."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BACKEND = "; from tasks import backend"


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
