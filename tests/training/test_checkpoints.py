"""What a kill leaves behind: the next run goes on from it, to the bits of a run that nothing disturbed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.training import checkpoints
from tasks.training.checkpoints import Checkpoints, key
from tasks.training.state import TrainingState
from tests.support.clone import Clone
from tests.support.edits import substitute
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
    found, expected = saved.newest(), state(10, value=10 / 3)
    assert found is not None
    assert (found.rows, found.stopping) == (expected.rows, expected.stopping)
    for one, other in zip([*found.variables, *found.best], [*expected.variables, *expected.best], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    saved.remove()
    assert saved.newest() is None


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    saved: Checkpoints, capsys: pytest.CaptureFixture[str], file: str, damage: str
) -> None:
    """The damaged one is named."""
    saved.save(state(1))
    saved.save(state(2))
    path = saved.folder / "epoch-00002" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:10] + bytes([content[10] ^ 0xFF]) + content[11:])
    found = saved.newest()
    assert found is not None
    assert len(found.rows) == 1
    assert "checkpoint epoch-00002 is damaged and passed over" in capsys.readouterr().out


def test_training_goes_on_without_a_checkpoint(saved: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    saved.folder.parent.mkdir()
    saved.folder.write_text("in the way")
    saved.save(state(4))
    assert capsys.readouterr().out.startswith("the checkpoint of epoch 4 could not be written")


def test_a_flipped_digit_of_the_history_is_damage_too(saved: Checkpoints) -> None:
    saved.save(state(1))
    substitute(saved.folder / "epoch-00001/state.json", '"best": 0.3', '"best": 0.2')
    assert saved.newest() is None


def test_checkpoints_unused_for_a_month_are_removed(saved: Checkpoints) -> None:
    saved.save(state(1))
    os.utime(saved.folder, (0, 0))
    Checkpoints("another")
    assert saved.newest() is None


def test_a_half_written_checkpoint_is_passed_over(saved: Checkpoints) -> None:
    saved.save(state(1))
    (saved.folder / ".part-123").mkdir()
    found = saved.newest()
    assert found is not None
    assert len(found.rows) == 1


def test_other_data_or_another_machine_is_another_key(tmp_path: Path) -> None:
    data = tmp_path / "images.npy"
    data.write_bytes(b"1")
    first = key((), [data], "cpu, 2 threads")
    assert key((), [data], "cpu, 2 threads") == first
    assert key((), [data], "cpu, 1 threads") != first
    data.write_bytes(b"2")
    assert key((), [data], "cpu, 2 threads") != first


def test_an_editors_lock_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emacs' is a link that leads nowhere."""
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "checkpoints.py"))
    (tmp_path / "train.py").write_text("epochs = 3\n")
    first = key((), [], "cpu")
    (tmp_path / ".#train.py").symlink_to("somebody@somewhere.1234")
    assert key((), [], "cpu") == first
    (tmp_path / "train.py").write_text("epochs = 4\n")
    assert key((), [], "cpu") != first


def digests(clone: Clone) -> list[str]:
    return [hashlib.sha256((clone.path / file).read_bytes()).hexdigest() for file in (MODEL, HISTORY)]


SIX_EPOCHS = {"train__epochs": 6, "regularize__dropout": 0.2, "normalize__train_images": 6000}


@pytest.fixture(scope="module")
def undisturbed(clone: Clone) -> list[str]:
    """What a run that nothing strikes down ends with."""
    clone.edit(**SIX_EPOCHS)
    assert "epoch 1/6" in clone.run("dvc", "repro", "train")
    return digests(clone)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_resumes_to_the_same_bits(clone: Clone, undisturbed: list[str], blow: signal.Signals) -> None:
    """As those of a run that nothing disturbed."""
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
    assert "going on after epoch " in resumed
    assert "epoch 1/6" not in resumed
    assert list((clone.path / ".checkpoints").iterdir()) == []
    assert digests(clone) == undisturbed


def wait_for_epoch(clone: Clone, epoch: int) -> None:
    """Until its checkpoint is there."""
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
    assert "going on after" not in changed
    assert "epoch 1/6" in changed
