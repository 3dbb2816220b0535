"""Which trials a machine can take."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cluster import queues


@pytest.mark.parametrize(
    ("precision", "device", "name"),
    [
        ("float32", "auto", "float32-3f2a91c0"),
        ("mixed_bfloat16", "cpu", "mixed_bfloat16-3f2a91c0"),
        ("float32", "gpu", "gpu-float32-3f2a91c0"),
    ],
)
def test_a_queue_says_what_its_trials_need(precision: str, device: str, name: str) -> None:
    assert queues.needed(precision, device, "3f2a91c0") == name


def test_libraries_are_named_by_the_lock_and_nothing_else() -> None:
    name = queues.libraries(b"numpy==2.1.0\n")
    assert len(name) == 8
    assert queues.libraries(b"numpy==2.1.0\n") == name != queues.libraries(b"numpy==2.1.1\n")


@pytest.mark.parametrize(
    ("auto", "cpu", "able"),
    [
        (("cpu", "float32"), "float32", ["float32"]),
        (("cpu", "mixed_bfloat16"), "mixed_bfloat16", ["float32", "mixed_bfloat16"]),
        (("gpu (T4)", "float32"), "mixed_bfloat16", ["float32", "gpu-float32", "mixed_bfloat16"]),
        (("gpu (H100)", "mixed_bfloat16"), "float32", ["float32", "gpu-float32", "gpu-mixed_bfloat16"]),
    ],
)
def test_a_machine_offers_float32_and_what_else_its_devices_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auto: tuple[str, str], cpu: str, able: list[str]
) -> None:
    (tmp_path / "requirements.lock").write_bytes(b"numpy==2.1.0\n")
    monkeypatch.setattr("flows.host.compute.here", lambda device: {"auto": auto, "cpu": ("cpu", cpu)}[device])
    here = queues.libraries(b"numpy==2.1.0\n")
    assert queues.offered(tmp_path) == [f"{name}-{here}" for name in able]
