"""The CPU: its model and number formats, read without a backend."""

import platform
from contextlib import suppress
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux only


def name() -> str:
    """Return the model of the CPU, from /proc or from Python."""
    models = [line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def has_bfloat16(backend: str) -> bool:
    """Tell whether bfloat16 is native: on CPUs with AVX512-BF16 or AMX.

    Not with JAX 0.11.2: its normalized and rectified convolutions give infinities.
    """
    return backend != "jax" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo().split())


def _cpuinfo() -> str:
    with suppress(OSError):
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    return ""
