"""What this machine computes with, without loading TensorFlow where there is no GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.host import compute
from flows.repo import commands
from tasks.device import cpu, runtime


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The devices that a process of its own was asked for; it answers as a machine with a GPU."""
    devices: list[str] = []

    def answer(device: str) -> str:
        devices.append(device)
        return "a message of a library\ngpu (NVIDIA H100)\nmixed_bfloat16\n"

    monkeypatch.setattr(compute, "_ask_backend", answer)
    compute.here.cache_clear()
    yield devices
    compute.here.cache_clear()


@pytest.mark.parametrize(
    ("flags", "backend", "precision"),
    [
        ("amx_bf16", "tensorflow", "mixed_bfloat16"),
        ("amx_bf16", "jax", "float32"),
        ("avx512f", "tensorflow", "float32"),
    ],
)
def test_a_machine_without_a_gpu_asks_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], flags: str, backend: str, precision: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags} sse\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert compute.here("auto") == compute.here("cpu") == ("cpu", precision)
    assert asked == []


def test_a_gpu_is_asked_for_by_the_backend_in_a_process(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert compute.here("auto") == compute.here("gpu") == ("gpu (NVIDIA H100)", "mixed_bfloat16")
    assert compute.here("cpu")[0] == "cpu"
    assert asked == ["auto", "gpu"]


@pytest.mark.slow
def test_the_question_is_one_that_the_runtime_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    answer = commands.run(Path(), sys.executable, "-c", compute.ASK, "cpu").splitlines()[-2:]
    machine = runtime.prepare("cpu", precision="auto")
    assert tuple(answer) == compute.here("cpu") == (machine.device, machine.precision)
