"""Damage to what a workspace keeps: found by content, named, repaired."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.repo.repair import recorded_outputs
from tests.support.clone import Clone, assert_nothing_is_stale
from tests.support.damage import flip_a_byte
from tests.support.edits import substitute

SLOW = pytest.mark.slow  # each asks DVC several times; `make test` keeps those that do not

MODEL = "models/classifier.keras"
Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    """Flip a byte and keep the time: DVC's quick look sees nothing."""
    times = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def run_doctor(clone: Clone, status: int = 0) -> list[str]:
    return clone.run(sys.executable, "-m", "flows.doctor", status=status).splitlines()


@pytest.fixture
def sound(clone: Clone) -> Clone:
    shutil.rmtree(clone.path / ".doctor", ignore_errors=True)
    clone.reset()
    return clone


def assert_sound(clone: Clone) -> None:
    assert run_doctor(clone) == ["nothing found: every digest is right"]
    assert clone.run("git", "status", "--porcelain") == ""


def cache_object(clone: Clone, path: str) -> Path:
    digest = next(line for line in (clone.path / "dvc.lock").read_text().split("- path: ") if line.startswith(path))
    md5 = digest.split("md5: ")[1].split()[0]
    return clone.path / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"


def test_a_sound_workspace_is_left_alone(sound: Clone) -> None:
    assert_sound(sound)
    assert not (sound.path / ".doctor").exists()


@SLOW
@pytest.mark.parametrize(
    ("path", "damage"),
    [
        ("data/raw/data_batch_3.bin", flip),
        ("data/normalized/dataset.json", truncate),
        (MODEL, flip),
        ("reports/metrics.json", Path.unlink),  # which DVC itself would not restore
    ],
)
def test_a_damaged_output_is_named_set_aside_and_restored(sound: Clone, path: str, damage: Damage) -> None:
    file = sound.path / path
    right = file.read_bytes()
    damage(file)
    wrong = file.read_bytes() if file.exists() else None
    if path == MODEL:  # DVC alone does not see it
        assert sound.run("dvc", "status") == "Data and pipelines are up to date.\n"
    found, *others = run_doctor(sound)
    assert others == ["1 found, 0 left to do"], found
    assert found.startswith(f"{path}: is ")
    assert found.endswith("restored from the cache")
    assert file.read_bytes() == right
    aside = [kept.read_bytes() for kept in (sound.path / ".doctor").rglob("*") if kept.is_file()]
    assert aside == ([wrong] if wrong is not None else [])
    assert_sound(sound)
    assert_nothing_is_stale(sound)


@SLOW
def test_a_report_that_git_has_is_restored_without_the_cache(sound: Clone) -> None:
    report = sound.path / "reports/history.csv"
    right = report.read_bytes()
    stored = cache_object(sound, "reports/history.csv")
    stored.rename(sound.path / "kept")
    truncate(report)
    assert run_doctor(sound)[0].endswith("restored from git")
    assert report.read_bytes() == right
    (sound.path / "kept").rename(stored)
    assert_sound(sound)


@SLOW
@pytest.mark.parametrize(
    ("output", "damage"),
    [
        (MODEL, flip),
        (MODEL, truncate),
        (MODEL, Path.unlink),
        ("data/normalized", flip),
        ("data/normalized", Path.unlink),
    ],
)
def test_a_damaged_or_lost_cache_object_is_made_again_from_the_workspace(
    sound: Clone, output: str, damage: Damage
) -> None:
    """Without a folder's list DVC would remove the sound output."""
    stored = cache_object(sound, output)
    right = stored.read_bytes()
    damage(stored)
    *gone, back, summary = run_doctor(sound)
    assert len(gone) == (damage is not Path.unlink)
    assert all("does not have the content of its name; moved to .doctor/" in line for line in gone)
    assert back.startswith("cache object ")
    assert back.endswith(f"from {output}")
    assert summary == f"{len(gone) + 1} found, 0 left to do"
    assert stored.read_bytes() == right
    assert_sound(sound)
    assert_nothing_is_stale(sound)


@SLOW
def test_what_nothing_can_restore_is_set_aside_with_the_command_that_makes_it_again(sound: Clone) -> None:
    for path in (cache_object(sound, MODEL), sound.path / MODEL):
        path.chmod(0o644)
        flip(path)
    lines = run_doctor(sound, status=1)
    assert lines[1].startswith(f"{MODEL}: is not what dvc.lock says; moved to .doctor/")
    assert lines[1].endswith("and `dvc repro` makes it again")
    assert lines[-1] == "2 found, 1 left to do"
    sound.run("dvc", "repro")
    assert_sound(sound)


@SLOW
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 1),  # DVC itself is stuck
        (b"stages:\n  train:\n    outs:\n    - path: a\n      md5: 12", 1),
        (b"\x00\xff", 1),
        (None, 0),  # between two stages, which DVC takes for a whole file
    ],
)
def test_a_truncated_lock_file_is_replaced_by_the_committed_one(
    sound: Clone, content: bytes | None, status: int
) -> None:
    lock = sound.path / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: whole.index(b"  normalize:\n")] if content is None else content)
    sound.run("dvc", "status", status=status)
    found, summary = run_doctor(sound)
    assert lock.read_bytes() == whole
    assert found.startswith("dvc.lock: is not what DVC wrote; moved to .doctor/")
    assert "`dvc repro` brings back what was newer" in found
    assert summary == "1 found, 0 left to do"
    assert_sound(sound)


@SLOW
def test_a_lock_cut_at_any_line_is_whole_or_found(sound: Clone) -> None:
    lines = (sound.path / "dvc.lock").read_text().splitlines(keepends=True)
    whole = recorded_outputs("".join(lines).encode())
    assert whole is not None
    for n in range(len(lines)):
        found = recorded_outputs("".join(lines[:n]).encode())
        assert found is None or found.items() <= whole.items()


def test_a_lock_with_lists_of_files_is_whole() -> None:
    """As DVC writes it after a push to a remote that versions objects itself."""
    listed = "{relpath: a, md5: 0cc175b9c0f1b6a831c399e269772661, size: 1, cloud: {store: {version_id: x}}}"
    lock = f"schema: '2.0'\nstages:\n  a:\n    cmd: a\n    outs: [{{path: a, hash: md5, files: [{listed}]}}]\n"
    assert recorded_outputs(lock.encode()) == {}


@SLOW
@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"wri|e": {}}', '{"write": {"x": {"pid"', '{"write": {"MODEL": {"pid": 1, "cmd": "dvc repro"}}}'],
)
def test_locks_of_killed_commands_are_removed(sound: Clone, content: str) -> None:
    rwlock = sound.path / ".dvc/tmp/rwlock"
    rwlock.write_text(content.replace("MODEL", str(sound.path / MODEL)))
    sound.run("dvc", "status", status=1)  # DVC itself is stuck
    found, _ = run_doctor(sound)
    assert found.startswith(".dvc/tmp/rwlock: left behind by a command that was killed; moved to .doctor/")
    assert_nothing_is_stale(sound)
    assert_sound(sound)


@SLOW
def test_a_damaged_checkpoint_and_half_written_files_are_set_aside(sound: Clone) -> None:
    checkpoint = sound.path / ".checkpoints/0123/epoch-00002"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text(json.dumps({"rows": []}))
    result = checkpoint.with_name(f"{64 * '0'}.npz")
    result.write_bytes(b"x")
    partial, lock = sound.path / "models/.part-classifier.keras", sound.path / ".git/index.lock"
    for path in (partial, lock):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    found = run_doctor(sound)
    assert found[0].startswith(".checkpoints/0123/epoch-00002: is damaged; training goes on from the one before it")
    names = [str(path.relative_to(sound.path)) for path in (result, partial, lock)]
    assert [line.split(":")[0] for line in found[1:4]] == names
    assert_sound(sound)


@SLOW
def test_a_slip_in_the_graph_is_one_line_of_every_command(sound: Clone) -> None:
    graph = sound.path / "dvc.yaml"
    whole = graph.read_text(encoding="utf-8")
    substitute(graph, "- images: ", "- images: [2024] ")
    number = graph.read_text(encoding="utf-8").partition("[2024]")[0].count("\n") + 1
    says = f"dvc.yaml, line {number}: is not valid YAML: "
    commands = {
        "flows.pipeline": 2,
        "flows.study": 2,
        "flows.gate --base HEAD": 2,
        "flows.summary": 1,
        "flows.doctor": 1,
    }
    for command, status in commands.items():
        line = sound.run("python", "-m", *command.split(), status=status).splitlines()[-1]
        assert line.startswith("error: ")
        assert says in line
    assert says in sound.run("python", "-m", "tasks.classify", "x.png", status=2)
    graph.write_text(whole, encoding="utf-8")


@SLOW
def test_the_shell_that_asks_is_no_work_whatever_else_its_line_has(sound: Clone) -> None:
    line = f"git status; dvc version; {sys.executable} -m flows.doctor; true"
    assert "nothing found: every digest is right" in sound.run("sh", "-c", line)


@SLOW
def test_a_stage_of_ones_own_without_inputs_and_outputs_is_a_stage_like_others(sound: Clone) -> None:
    substitute(sound.path / "dvc.yaml", "\nstages:\n", "\nstages:\n  publish:\n    cmd: echo published\n")
    sound.run("dvc", "repro", "publish")
    assert "on demand" not in sound.run(sys.executable, "-m", "flows.why", "publish")
    assert run_doctor(sound) == ["nothing found: every digest is right"]


@SLOW
def test_nothing_is_touched_while_something_runs(sound: Clone) -> None:
    flip(sound.path / MODEL)
    command = [sys.executable, "-c", "import time; time.sleep(60)", "-m tasks.train"]
    with subprocess.Popen(command, cwd=sound.path) as trainer:
        (line,) = run_doctor(sound, status=75)
        trainer.kill()
    assert line.startswith("error: doctor: nothing may run here meanwhile; received ")
    assert not (sound.path / ".doctor").exists()
    assert run_doctor(sound)[-1] == "1 found, 0 left to do"  # later tests share this clone
