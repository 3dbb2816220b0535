"""Results that were made in another way than this machine computes."""

import json
import shutil
from pathlib import Path

import pytest

from flows.host import capability
from flows.repo.git import git
from flows.results.provenance import POINTS, made_elsewhere
from tasks.run.provenance import MADE_ON
from tests.support import ROOT
from tests.support.parameters import edit

HERE = {"precision": "float32", "threads": 2, "device": "cpu", "backend": "tensorflow", "cpu": "AMD EPYC 9124"}
H100 = "gpu (NVIDIA H100)"
EXPECT = f"expect differences of about {POINTS} points"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project on a machine that computes in float32 on its CPU."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "reports").mkdir()
    monkeypatch.setattr(capability, "resolve_device", lambda device: ("cpu", "float32"))
    monkeypatch.setattr(capability, "backend", lambda: "tensorflow")
    return tmp_path


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, ""),
        ({"threads": 64, "cpu": "Xeon"}, ""),
        (
            {"precision": "mixed_bfloat16"},
            "made in bfloat16 on AMD EPYC 9124; this machine computes in float32",
        ),
        (
            {"precision": "mixed_bfloat16", "device": H100},
            "made in bfloat16 on gpu (NVIDIA H100); this machine computes in float32 on cpu",
        ),
        (
            {"backend": "jax"},
            "made in float32 by jax on AMD EPYC 9124; this machine computes in float32 by tensorflow",
        ),
    ],
)
def test_another_precision_device_or_backend_is_told_and_no_other_processor(
    project: Path, other: dict[str, object], said: str
) -> None:
    (project / MADE_ON).write_text(json.dumps({**HERE, **other}))
    assert made_elsewhere(project) == (f"{said}: {EXPECT}" if said else "")


def test_what_the_parameters_decide_is_not_asked_of_the_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / MADE_ON).write_text(json.dumps(HERE))
    monkeypatch.setattr(capability, "resolve_device", lambda device: (device, "mixed_bfloat16"))
    assert "this machine computes in bfloat16 on auto" in made_elsewhere(project)
    edit(project / "params.yaml", train__precision="float32", train__device="cpu")
    assert made_elsewhere(project) == ""
    edit(project / "params.yaml", train__precision="auto", model__network="efficientnet_lite0")
    assert made_elsewhere(project) == ""


def test_where_nobody_knows_nothing_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_elsewhere(project) == ""
    for damaged in ("", "[]", "{}", '{"precision"'):
        (project / MADE_ON).write_text(damaged)
        assert made_elsewhere(project) == ""

    def refuse(device: str) -> tuple[str, str]:
        raise RuntimeError("train.device: gpu needs a GPU")

    (project / MADE_ON).write_text(json.dumps({**HERE, "precision": "mixed_bfloat16"}))
    monkeypatch.setattr(capability, "resolve_device", refuse)
    assert made_elsewhere(project) == ""


def test_a_commit_is_told_apart_from_the_workspace(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / MADE_ON).write_text(json.dumps({**HERE, "precision": "mixed_bfloat16"}))
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    commit = (
        git(project, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "a") or "HEAD"
    )
    edit(project / "params.yaml", model__network="pretrained", train__precision="auto")  # not of the commit
    (project / MADE_ON).write_text(json.dumps(HERE))
    monkeypatch.setattr(capability, "resolve_device", lambda device: ("cpu", "mixed_bfloat16"))
    assert made_elsewhere(project) == ""
    assert made_elsewhere(project, commit) == ""  # which had bfloat16 by the same `auto`
    monkeypatch.undo()
    monkeypatch.setattr(capability, "resolve_device", lambda device: ("cpu", "float32"))
    assert made_elsewhere(project, commit).startswith("made in bfloat16 on AMD EPYC 9124; ")
