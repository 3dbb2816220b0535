"""How many runs go side by side on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.host import resources


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
