"""A disk that is full in the middle of each step: one line, no half file under a final name, old outputs come back."""

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.clone import Clone, assert_nothing_is_stale

pytestmark = pytest.mark.slow

# The largest file that each step may write, in bytes: less than its outputs have.
LIMITS = {
    "download": 2_000_000,
    "normalize": 2_000_000,
    "train": 20_000,
    "evaluate": 20_000,
    "export": 5_000,
    "report": 20_000,
    "describe": 1_000,
}


def commands(clone: Clone) -> dict[str, list[str]]:
    graph = YAML(typ="safe").load(clone.path / "dvc.yaml")
    found = {}
    for name, stage in graph["stages"].items():
        line = stage["cmd"]
        for slot, path in ((slot, path) for one in graph["vars"] for slot, path in one.items()):
            line = line.replace(f"${{{slot}}}", path)
        found[name] = [sys.executable, *shlex.split(line)[2:]]
    return found


def outputs(clone: Clone, name: str) -> list[Path]:
    lock = YAML(typ="safe").load(clone.path / "dvc.lock")["stages"][name]
    return [clone.path / out["path"] for out in lock["outs"]]


def state(paths: list[Path]) -> dict[Path, bytes]:
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("name", LIMITS)
def test_a_step_that_cannot_write_keeps_the_old_outputs(clone: Clone, name: str) -> None:
    """It says so in one line."""
    before = state(outputs(clone, name))
    limit = LIMITS[name]
    done = subprocess.run(
        commands(clone)[name],
        cwd=clone.path,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    *_, last = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    advice = "make room, then `dvc repro` starts this stage again"
    assert re.fullmatch(rf"error: {name}: File too large: \S+; {advice}", last)
    assert "Traceback" not in done.stderr
    assert state(outputs(clone, name)) == before
    assert not list(clone.path.glob("*/.part-*"))


def test_writing_in_place_would_have_left_half_a_file(tmp_path: Path) -> None:
    code = (
        "import resource, numpy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "numpy.save('images.npy', numpy.zeros(100_000, 'uint8'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    assert 0 < (tmp_path / "images.npy").stat().st_size < 100_000


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """The folder on a disk of so many bytes."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]).returncode:
        pytest.skip("NOT TESTED: a small disk can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("name", "folder", "size"), [("normalize", "data", "10m"), ("train", "models", "16k")])
def test_after_a_full_disk_dvc_brings_the_old_outputs_back(clone: Clone, name: str, folder: str, size: str) -> None:
    clone.reset()
    raw = clone.path.parent / "raw"
    if folder == "data":
        shutil.copytree(clone.path / "data/raw", raw)
    shutil.rmtree(clone.path / folder)
    with small_disk(clone.path / folder, size):
        if folder == "data":
            (clone.path / "data/raw").symlink_to(raw)
        said = clone.run("bash", "-c", shlex.join(commands(clone)[name]), status=1)
        assert f"error: {name}: No space left on device: " in said.splitlines()[-1]
        left = [path.name for path in (clone.path / folder).iterdir()]
        assert left == (["raw"] if folder == "data" else [])
    clone.run("git", "checkout", "--quiet", folder)
    clone.run("dvc", "checkout", "--force")
    assert_nothing_is_stale(clone)
    assert clone.run("git", "status", "--porcelain") == ""
