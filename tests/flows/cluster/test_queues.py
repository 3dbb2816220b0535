"""Which trials a worker can take."""

from pathlib import Path

import pytest

from flows.cluster.queues import libraries_name, queue_name, served_queues


@pytest.mark.parametrize(
    ("precision", "device", "name"),
    [
        ("float32", "auto", "float32-3f2a91c0"),
        ("mixed_bfloat16", "cpu", "mixed_bfloat16-3f2a91c0"),
        ("float32", "gpu", "gpu-float32-3f2a91c0"),
    ],
)
def test_a_queue_says_what_its_trials_need(precision: str, device: str, name: str) -> None:
    assert queue_name(precision, device, "3f2a91c0") == name


def test_libraries_are_named_by_the_lock_and_nothing_else() -> None:
    name = libraries_name(b"numpy==2.1.0\n")
    assert len(name) == 8
    assert libraries_name(b"numpy==2.1.0\n") == name != libraries_name(b"numpy==2.1.1\n")


@pytest.mark.parametrize(
    ("auto", "cpu", "able"),
    [
        (("cpu", "float32"), "float32", ["float32"]),
        (("cpu", "mixed_bfloat16"), "mixed_bfloat16", ["float32", "mixed_bfloat16"]),
        (("gpu (T4)", "float32"), "mixed_bfloat16", ["float32", "gpu-float32", "mixed_bfloat16"]),
        (("gpu (H100)", "mixed_bfloat16"), "float32", ["float32", "gpu-float32", "gpu-mixed_bfloat16"]),
    ],
)
def test_a_worker_serves_float32_and_what_its_devices_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auto: tuple[str, str], cpu: str, able: list[str]
) -> None:
    (tmp_path / "requirements.lock").write_bytes(b"numpy==2.1.0\n")
    monkeypatch.setattr(
        "flows.host.capability.resolve_device", lambda device: {"auto": auto, "cpu": ("cpu", cpu)}[device]
    )
    libraries = libraries_name(b"numpy==2.1.0\n")
    assert served_queues(tmp_path) == [f"{name}-{libraries}" for name in able]
