"""What a model was made on is written by a training, and only if it changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks import made_on, processor

MADE_WITH = {"precision": "float32", "threads": 2, "device": "cpu", "backend": "tensorflow"}


def test_the_same_machine_writes_nothing_and_another_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processor, "name", lambda: "AMD EPYC 9124")
    made_on.record(MADE_WITH)
    assert json.loads(made_on.MADE_ON.read_text()) == {**MADE_WITH, "cpu": "AMD EPYC 9124"}
    before = made_on.MADE_ON.stat().st_ino
    made_on.record(MADE_WITH)
    assert made_on.MADE_ON.stat().st_ino == before
    made_on.record({**MADE_WITH, "precision": "mixed_bfloat16"})
    assert json.loads(made_on.MADE_ON.read_text())["precision"] == "mixed_bfloat16"
    monkeypatch.setattr(processor, "name", lambda: "Xeon")
    made_on.record(MADE_WITH)
    assert json.loads(made_on.MADE_ON.read_text())["cpu"] == "Xeon"
    whole = made_on.MADE_ON.read_bytes()
    made_on.MADE_ON.write_bytes(b"\xff")
    made_on.record(MADE_WITH)
    assert made_on.MADE_ON.read_bytes() == whole


def test_a_processor_is_named_also_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.name()
    assert not processor.has_bfloat16("tensorflow")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: AMD EPYC 9124\nflags : amx_bf16\n")
    assert processor.name() == "AMD EPYC 9124"
    assert processor.has_bfloat16("tensorflow")
    assert not processor.has_bfloat16("jax")
