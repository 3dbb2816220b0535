"""The resources of runs side by side."""

from __future__ import annotations

import pytest

from flows.host import resources


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as a host of six cores and two GPUs."""
    monkeypatch.setattr(resources, "_cores", lambda: [0, 1, 2, 3, 8, 9])
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")


def test_runs_side_by_side_have_cores_and_a_gpu_of_their_own() -> None:
    first, second, third = (resources.run_resources(number, 3) for number in range(3))
    assert [sorted(run.cores) for run in (first, second, third)] == [[0, 1], [2, 3], [8, 9]]
    assert [run.variables["CUDA_VISIBLE_DEVICES"] for run in (first, second, third)] == ["4", "7", "4"]
    assert first.variables["LOKY_MAX_CPU_COUNT"] == "2"


def test_a_process_has_the_resources_that_its_worker_names_or_the_whole_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(resources.VARIABLE, raising=False)
    assert resources.assigned_resources() == resources.run_resources(0, 1)
    monkeypatch.setenv(resources.VARIABLE, "1/2")
    assert resources.assigned_resources() == resources.run_resources(1, 2)
