"""The CPU: its model, and what it computes natively. It imports no backend, so that flows can ask, too."""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux only


def name() -> str:
    """Name the model of the CPU; Python knows it on macOS and Windows, and on Linux the system does."""
    models = [line.partition(":")[2].strip() for line in _about().splitlines() if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def has_bfloat16(backend: str) -> bool:
    """Say whether bfloat16 is native: on CPUs with AVX512-BF16 or AMX.

    Not with JAX: what its 0.11.2 compiles there gives infinities for a convolution, normalized and rectified.
    """
    return backend != "jax" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(_about().split())


def _about() -> str:
    with suppress(OSError):
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    return ""
