"""The resources of runs side by side."""

import os
from pathlib import Path

import pytest

from flows.host import resources


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as a host of six cores and two GPUs."""
    monkeypatch.setattr(resources, "_cores", lambda: [0, 1, 2, 3, 8, 9])
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")


def test_runs_side_by_side_have_cores_and_a_gpu_of_their_own(host: None) -> None:
    first, second, third = (resources.run_resources(number, 3) for number in range(3))
    assert [sorted(run.cores) for run in (first, second, third)] == [[0, 1], [2, 3], [8, 9]]
    assert [run.variables["CUDA_VISIBLE_DEVICES"] for run in (first, second, third)] == ["4", "7", "4"]
    assert first.variables["LOKY_MAX_CPU_COUNT"] == "2"


def test_a_process_has_the_resources_that_its_worker_names_or_the_whole_host(
    host: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(resources.VARIABLE, raising=False)
    assert resources.assigned_resources() == resources.run_resources(0, 1)
    monkeypatch.setenv(resources.VARIABLE, "1/2")
    assert resources.assigned_resources() == resources.run_resources(1, 2)


@pytest.mark.parametrize(
    ("allowed", "listed", "found"),
    [
        (None, "GPU 0: one (UUID: a)\nGPU 1: two (UUID: b)", ["0", "1"]),
        (None, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\nIs it running?", []),
        ("3,5", "GPU 0: one (UUID: a)", ["3", "5"]),
        ("", "GPU 0: one (UUID: a)", []),
    ],
)
def test_a_job_is_one_of_the_gpus_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, listed: str, found: list[str]
) -> None:
    """The command is a script here: this machine may have no GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if allowed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert resources.gpus() == found
    assert resources.default_jobs() == (len(found) or max(len(resources._cores()) // 2, 1))  # there is memory for these
