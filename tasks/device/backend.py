"""Keras, imported into a process that is tuned for it.

It keeps freed memory, silences the backend while it starts, spares its objects from garbage collection, and skips
imports that no step needs. A step imports this before any module that imports Keras itself.
"""

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keras", "quiet_start"]

# Keras imports them if they are installed, for plots and wrappers that no step uses: a third of its start.
BLOCKED_IMPORTS = ("matplotlib", "pandas", "sklearn")


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory, which each training step allocates again.

    By default glibc returns large blocks to the system, which clears them page by page at the next allocation: a third
    of an epoch. The numbers are those of glibc's malloc.h.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)  # no block gets a mapping of its own
        libc.mallopt(trim_threshold, 2**31 - 1)  # bytes that may be free at the heap's end


@contextmanager
def quiet_start(quiet: bool = True) -> Iterator[None]:
    """Silence the backend's C++ code while it starts; no setting does."""
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
def block_imports(*packages: str) -> Iterator[None]:
    """Make imports of packages fail, unless they are already imported."""
    blocked = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for package in blocked:
            del sys.modules[package]


if platform.machine().lower() in {"x86_64", "amd64"}:
    # By default TensorFlow uses oneDNN with AVX-512 alone; on AVX2 its convolutions take two thirds of the time.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

# The backend makes half a million objects that stay: searching them for garbage takes a quarter of its start, and
# another second at exit.
gc.disable()
_keep_freed_memory()
with quiet_start(), block_imports(*BLOCKED_IMPORTS):
    import keras
gc.freeze()
gc.enable()
