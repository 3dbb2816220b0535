"""Checkpoints: a killed run resumes to the bits of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from tasks.data.decoding import DECODING_CODE
from tasks.pretrained.features import FEATURES_CODE
from tasks.run import kept
from tasks.run.kept import cache_key
from tasks.training.checkpoints import TRAINING_CODE, Checkpoints, TrainingState
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.damage import flip_a_byte
from tests.support.serving import heed_interrupts

MODEL, HISTORY = Path("models/classifier.keras"), Path("reports/history.csv")


def state(epochs: int, value: float = 0.5) -> TrainingState:
    rows = [{"epoch": float(n), "train_loss": 1 / (n + 1)} for n in range(epochs)]
    return TrainingState(
        rows, [np.full((3, 2), value), np.array(7)], {"wait": 1, "best": 0.3, "best_epoch": 2}, [np.eye(2)]
    )


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    monkeypatch.chdir(tmp_path)
    return Checkpoints("a1b2")


def test_a_state_reads_back_and_two_are_kept(saved: Checkpoints) -> None:
    for epochs in (1, 2, 3, 10):
        saved.save(state(epochs, value=epochs / 3))
    assert sorted(path.name for path in saved.folder.iterdir()) == ["epoch-00003", "epoch-00010"]
    result, expected = saved.newest(), state(10, value=10 / 3)
    assert result is not None
    assert (result.rows, result.stopping) == (expected.rows, expected.stopping)
    for a, b in zip([*result.variables, *result.best], [*expected.variables, *expected.best], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    saved.remove()
    assert saved.newest() is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    saved: Checkpoints, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    saved.save(state(1))
    saved.save(state(2))
    path = saved.folder / "epoch-00002"
    if damage == "flipped":
        flip_a_byte(path)
    else:
        path.write_bytes(path.read_bytes()[: 300 if damage == "truncated" else 0])
    result = saved.newest()
    assert result is not None
    assert len(result.rows) == 1
    assert "checkpoint epoch-00002 is damaged and skipped" in capsys.readouterr().out


def test_training_goes_on_without_a_checkpoint(saved: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    saved.folder.parent.mkdir()
    saved.folder.write_text("in the way")
    saved.save(state(4))
    assert capsys.readouterr().out.startswith("the checkpoint of epoch 4 could not be written")


def test_a_flipped_digit_of_the_history_is_damage_too(saved: Checkpoints) -> None:
    saved.save(state(1))
    path = saved.folder / "epoch-00001"
    path.write_bytes(path.read_bytes().replace(b'"best": 0.3', b'"best": 0.2'))
    assert saved.newest() is None


def test_other_data_or_another_machine_is_another_key(tmp_path: Path) -> None:
    data = tmp_path / "images.npy"
    data.write_bytes(b"1")
    first = cache_key((), [data], "cpu, 2 threads", TRAINING_CODE)
    assert cache_key((), [data], "cpu, 2 threads", TRAINING_CODE) == first
    assert cache_key((), [data], "cpu, 1 threads", TRAINING_CODE) != first
    data.write_bytes(b"2")
    assert cache_key((), [data], "cpu, 2 threads", TRAINING_CODE) != first


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy tasks/, and digest the copy in place of it."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kept, "TASKS", tmp_path / "tasks")
    return tmp_path / "tasks"


def keys() -> list[str]:
    return [cache_key((), [], "cpu", code) for code in (TRAINING_CODE, FEATURES_CODE, DECODING_CODE)]


@pytest.mark.parametrize(
    ("file", "stays"),
    [
        ("layouts/rules.py", [True, True, True]),
        ("reporting/tables.py", [True, True, True]),
        ("evaluate.py", [True, True, True]),
        ("train.py", [False, True, True]),
        ("data/images.py", [False, True, False]),
        ("training/loop.py", [False, True, True]),
        ("pretrained/features.py", [False, False, True]),
        ("models/network.py", [False, False, True]),
        ("device/runtime.py", [False, False, True]),
    ],
)
def test_code_that_decides_a_result_changes_its_key(code: Path, file: str, stays: list[bool]) -> None:
    before = keys()
    with (code / file).open("a") as source:
        source.write("# a comment\n")
    assert [key == same for key, same in zip(keys(), before, strict=True)] == stays


def test_the_code_of_a_training_is_what_dvc_yaml_lists() -> None:
    stage = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["train"]
    assert {f"tasks/{name}" for name in TRAINING_CODE} == {dep for dep in stage["deps"] if dep.startswith("tasks/")}


def test_an_editors_lock_is_no_code(code: Path) -> None:
    """Emacs makes a link to nowhere."""
    before = keys()
    (code / "models/.#network.py").symlink_to("somebody@somewhere.1234")
    assert keys() == before


def outputs(clone: Clone) -> list[bytes]:
    return [(clone.path / file).read_bytes() for file in (MODEL, HISTORY)]


SIX_EPOCHS = {"train__epochs": 6, "regularize__dropout": 0.2, "normalize__train_images": 6000}


@pytest.fixture(scope="module")
def undisturbed(clone: Clone) -> list[bytes]:
    """Train without a kill."""
    clone.edit(**SIX_EPOCHS)
    assert "epoch 1/6" in clone.run("dvc", "repro", "train")
    return outputs(clone)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_resumes_to_the_same_bits(clone: Clone, undisturbed: list[bytes], blow: signal.Signals) -> None:
    clone.reset()  # the run cache too, which would bring the undisturbed run back
    clone.edit(**SIX_EPOCHS)
    command = [sys.executable, "-m", "dvc", "repro", "train"]
    with subprocess.Popen(
        command, cwd=clone.path, env=clone.environment, start_new_session=True, preexec_fn=heed_interrupts
    ) as process:
        wait_for_epoch(clone, 2)
        struck = time.monotonic()
        os.killpg(process.pid, blow)
    assert time.monotonic() - struck < 10
    assert not (clone.path / MODEL).exists()
    resumed = clone.run("dvc", "repro", "train")
    assert "resuming after epoch " in resumed
    assert "epoch 1/6" not in resumed
    assert list((clone.path / ".checkpoints").iterdir()) == []
    assert outputs(clone) == undisturbed


def wait_for_epoch(clone: Clone, epoch: int) -> None:
    until = time.monotonic() + 120
    while not list(clone.path.glob(f".checkpoints/*/epoch-{epoch:05}")):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_changed_inputs_never_resume(clone: Clone) -> None:
    clone.reset()
    clone.edit(train__epochs=6, normalize__train_images=6000)
    command = [sys.executable, "-m", "dvc", "repro", "train"]
    with subprocess.Popen(command, cwd=clone.path, env=clone.environment, start_new_session=True) as process:
        wait_for_epoch(clone, 1)
        os.killpg(process.pid, signal.SIGKILL)
    clone.edit(train__learning_rate=0.3)
    changed = clone.run("dvc", "repro", "train")
    assert "resuming after" not in changed
    assert "epoch 1/6" in changed
