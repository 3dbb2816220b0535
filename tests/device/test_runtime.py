"""Which device and precision a step computes with."""

from pathlib import Path

import pytest

from tasks.device import cpu, runtime
from tasks.errors import RefusedError


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx2 avx512_bf16", "mixed_bfloat16"), ("amx_bf16", "mixed_bfloat16"), ("avx2 avx512f", "float32")],
)
def test_auto_is_bfloat16_where_the_processor_supports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags : fpu {flags} sse\n")
    monkeypatch.setattr(cpu, "CPUINFO", cpuinfo)
    assert runtime.prepare("cpu", precision="auto").precision == expected
    assert runtime.prepare("cpu", precision="float32").precision == "float32"
    assert not cpu.has_bfloat16("jax")  # whose compiler makes infinities of it


def test_a_missing_gpu_that_is_required_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(RefusedError, match="needs a GPU that the backend sees; received none; set it to auto"):
        runtime.prepare("gpu")


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), "mixed_bfloat16"), ((7, 5), "float32")])
def test_auto_is_bfloat16_on_gpus_since_ampere(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(runtime, "_gpu", lambda device: "gpu (one)")
    monkeypatch.setattr(runtime, "_compute_capability", lambda: capability)
    assert runtime.prepare(precision="auto").precision == expected
