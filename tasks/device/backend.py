"""Keras, imported with what has to happen before and while its backend starts.

`from tasks.device.backend import keras` tunes the process: glibc keeps freed memory, the backend writes nothing to the
terminal while it starts, the garbage collector skips the backend's objects, and unused packages are not imported. A
step imports this before any module that imports Keras itself.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keras", "quiet_start"]

# Keras imports them where they are there, for plots and wrappers that no step uses: a third of its start.
IN_VAIN = ("matplotlib", "pandas", "sklearn")


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, as each step of training frees and asks for hundreds of megabytes.

    By default large blocks go back to the system at once, which clears them page by page when they are asked for
    again: a third of an epoch. Another C library is left alone. The numbers are those of glibc's malloc.h.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)  # no block is a mapping of its own
        libc.mallopt(trim_threshold, 2**31 - 1)  # bytes that may be free at the heap's end


@contextmanager
def quiet_start(quiet: bool = True) -> Iterator[None]:
    """Hide what the backend's C++ writes to the terminal while it starts; no setting of its own does."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        if quiet:
            os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


@contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Let imports of packages fail as if they were not installed, but for those that are imported already."""
    absent = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is what the import system calls absent
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]


if platform.machine().lower() in {"x86_64", "amd64"}:
    # TensorFlow leaves oneDNN's convolutions to CPUs with AVX-512; on AVX2 they take two thirds of its own ones' time.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

# The backend makes over half a million objects that stay: to look for garbage among them takes a quarter of its start,
# and at the end of the process another second.
gc.disable()
_keep_freed_memory()
with quiet_start(), _absent(*IN_VAIN):
    import keras
gc.freeze()
gc.enable()
