"""What a model was made on is written by a training, and only if it changed."""

import json
from pathlib import Path

import pytest

from tasks.device import cpu
from tasks.run import provenance

MADE_WITH = {"precision": "float32", "threads": 2, "device": "cpu", "backend": "tensorflow"}


def test_the_same_machine_writes_nothing_and_another_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cpu, "name", lambda: "AMD EPYC 9124")
    provenance.record(MADE_WITH)
    assert json.loads(provenance.MADE_ON.read_text()) == {**MADE_WITH, "cpu": "AMD EPYC 9124"}
    before = provenance.MADE_ON.stat().st_ino
    provenance.record(MADE_WITH)
    assert provenance.MADE_ON.stat().st_ino == before
    provenance.record({**MADE_WITH, "precision": "mixed_bfloat16"})
    assert json.loads(provenance.MADE_ON.read_text())["precision"] == "mixed_bfloat16"
    monkeypatch.setattr(cpu, "name", lambda: "Xeon")
    provenance.record(MADE_WITH)
    assert json.loads(provenance.MADE_ON.read_text())["cpu"] == "Xeon"
    whole = provenance.MADE_ON.read_bytes()
    provenance.MADE_ON.write_bytes(b"\xff")
    provenance.record(MADE_WITH)
    assert provenance.MADE_ON.read_bytes() == whole


def test_a_processor_is_named_also_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert cpu.name()
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: AMD EPYC 9124\nflags : amx_bf16\n")
    assert cpu.name() == "AMD EPYC 9124"
