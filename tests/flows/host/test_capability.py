"""The capability of this host, without TensorFlow where no GPU is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.host import capability
from flows.repo import commands
from tasks.device import cpu, runtime


@pytest.fixture(autouse=True)
def probed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the devices of probes, which answer with a GPU."""
    devices: list[str] = []

    def answer(device: str) -> str:
        devices.append(device)
        return "a message of a library\ngpu (NVIDIA H100)\nmixed_bfloat16\n"

    monkeypatch.setattr(capability, "_probe", answer)
    capability.resolve_device.cache_clear()
    yield devices
    capability.resolve_device.cache_clear()


@pytest.mark.parametrize(
    ("flags", "backend", "precision"),
    [
        ("amx_bf16", "tensorflow", "mixed_bfloat16"),
        ("amx_bf16", "jax", "float32"),
        ("avx512f", "tensorflow", "float32"),
    ],
)
def test_a_host_without_a_gpu_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probed: list[str], flags: str, backend: str, precision: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags} sse\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert capability.resolve_device("auto") == capability.resolve_device("cpu") == ("cpu", precision)
    assert probed == []


def test_the_backend_finds_a_gpu_in_a_process(monkeypatch: pytest.MonkeyPatch, probed: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert (
        capability.resolve_device("auto") == capability.resolve_device("gpu") == ("gpu (NVIDIA H100)", "mixed_bfloat16")
    )
    assert capability.resolve_device("cpu")[0] == "cpu"
    assert probed == ["auto", "gpu"]


@pytest.mark.slow
def test_the_probe_is_one_that_the_runtime_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    answer = commands.run(Path(), sys.executable, "-c", capability.PROBE, "cpu").splitlines()[-2:]
    machine = runtime.prepare("cpu", precision="auto")
    assert tuple(answer) == capability.resolve_device("cpu") == (machine.device, machine.precision)
