"""`make setup` in any folder: moved, without git, with other line ends, with pip alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.clone import Clone, copy_tracked
from tests.support.serving import serving


@pytest.fixture
def copy(tmp_path: Path) -> Clone:
    """Copy this repository without git to a name with a space and a letter beyond ASCII."""
    made = Clone(tmp_path / "my clöne")
    copy_tracked(made.path)
    return made


def begin(copy: Clone) -> None:
    copy.run("git", "init", "--quiet", "--initial-branch", "main")
    copy.commit("start")


def test_a_folder_without_git_is_refused_before_anything_is_installed(copy: Clone) -> None:
    said = copy.run("make", "run", status=2)
    assert "git init && git add --all && git commit" in said
    assert not (copy.path / ".venv").exists()
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1


@pytest.mark.parametrize("broken", ["moved", "interpreter gone"])
def test_an_environment_that_cannot_be_used_is_made_again(copy: Clone, broken: str) -> None:
    begin(copy)
    venv = copy.path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / "ready").write_text(str(venv.resolve()))
    assert "Nothing to be done" in copy.run("make", "--dry-run", "setup")
    if broken == "moved":
        copy.path = copy.path.rename(copy.path.with_name("moved"))
    else:
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to("/nowhere/python")
    assert "-m venv --clear .venv" in copy.run("make", "--dry-run", "setup")


@pytest.mark.slow
@pytest.mark.long
def test_setup_deploy_and_a_flow_work_in_a_folder_with_a_space(copy: Clone, clone: Clone) -> None:
    begin(copy)
    copy.run("make", "setup")
    assert "Nothing to be done" in copy.run("make", "setup")
    copy.environment["PATH"] = os.environ["PATH"]  # make's own comes first
    for name in ("params.yaml", "data/cifar10.sha256"):
        shutil.copy(clone.path / name, copy.path / name)
    copy.commit("small parameters")
    assert "| test " in copy.run("make", "run")
    with serving(copy) as prefect:
        flow_run = prefect.start()
        assert prefect.clone.run("prefect", "flow-run", "watch", flow_run)
        assert prefect.completed(flow_run)


def test_every_program_of_the_environment_is_called_by_its_path() -> None:
    """GNU make 3.81 of macOS looks on its own PATH, not on the exported one."""
    programs = {file.name for file in Path(sys.executable).parent.iterdir()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    recipes = [line.lstrip("\t@") for line in makefile.splitlines() if line.startswith("\t")]
    parts = [part.strip() for line in recipes for part in re.split(r"&&|\|\||;", line)]
    called = {found[0] for part in parts if (found := re.match(r'"[^"]*"|\S+', part))}
    assert called & programs == set()
    assert {"$(BIN)/dvc", "$(BIN)/python", "$(BIN)/prefect"} <= called


def test_line_ends_are_those_of_the_repository_whatever_git_is_told(copy: Clone, tmp_path: Path) -> None:
    begin(copy)
    copy.run("git", "clone", "--quiet", "-c", "core.autocrlf=true", str(copy.path), str(tmp_path / "windows"))
    changed = [
        file for file in copy.run("git", "ls-files").splitlines()
        if (copy.path / file).read_bytes() != (tmp_path / "windows" / file).read_bytes()
    ]  # fmt: skip
    assert changed == []


@pytest.mark.slow
@pytest.mark.long
def test_pip_installs_the_lock_that_uv_installs(tmp_path: Path) -> None:
    """The command to which `make setup` falls back, without the download."""
    (fallback,) = re.findall(r"\|\| \$\(BIN\)/python -m (pip install .*)", (ROOT / "Makefile").read_text())
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    command = [tmp_path / "venv/bin/python", "-m", *fallback.split(), "--dry-run", "--report", tmp_path / "report.json"]
    subprocess.run(command, cwd=ROOT, check=True)
    found = {
        f"{one['metadata']['name']}=={one['metadata']['version']}".lower().replace("_", "-")
        for one in json.loads((tmp_path / "report.json").read_text())["install"]
    }
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--all"], check=True, capture_output=True, text=True
    ).stdout
    assert found <= {line.lower().replace("_", "-") for line in listed.splitlines()}
