"""Which trials a worker can take."""

from pathlib import Path

import pytest

from flows.cluster.queues import libraries_name, queue_name, served_queues


def test_a_queue_is_named_by_precision_device_and_libraries() -> None:
    libraries = libraries_name(b"numpy==2.1.0\n")
    assert len(libraries) == 8
    assert libraries != libraries_name(b"numpy==2.1.1\n")
    assert queue_name("mixed_bfloat16", "cpu", libraries) == f"mixed_bfloat16-{libraries}"
    assert queue_name("float32", "auto", libraries) == f"float32-{libraries}"
    assert queue_name("float32", "gpu", libraries) == f"gpu-float32-{libraries}"


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
