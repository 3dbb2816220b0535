"""How a step ends: the status and the one line for each kind of error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tasks import step
from tasks.params import ParameterError
from tests.conftest import ROOT, edit

STEP_SECONDS = 10  # of one that its caller's death must end


def probe(raw: Path) -> step.Facts:
    """A step whose outcome is named by its path."""
    outcomes: dict[str, Callable[[], Exception]] = {
        "parameter": lambda: ParameterError("params.yaml: train.epochs: must be at least 1"),
        "refused": lambda: step.RefusedError("fix the data"),
        "temporary": lambda: step.TemporaryError("try again"),
        "file": lambda: FileNotFoundError(2, "No such file or directory", "data/x"),
        "defect": lambda: KeyError("x"),
    }
    if raw.name in outcomes:
        raise outcomes[raw.name]()
    return {"device": "cpu"}


@pytest.mark.parametrize(
    ("outcome", "status", "line"),
    [
        ("parameter", 2, "error: probe: params.yaml: train.epochs: must be at least 1"),
        ("refused", 2, "error: probe: fix the data"),
        ("temporary", 75, "error: probe: try again"),
        ("file", 1, "error: probe: No such file or directory: data/x"),
        ("defect", 1, "error: probe: unexpected KeyError: 'x'; the trace above says where"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_an_error_ends_with_its_status_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: str, status: int, line: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe", outcome])
    with pytest.raises(SystemExit) as ended:
        step.run(probe)
    assert ended.value.code == status
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert not step.RUN_FACTS.exists()


@pytest.mark.parametrize("is_folder", [True, False])
def test_outputs_appear_when_a_step_ends_well_and_only_then(tmp_path: Path, is_folder: bool) -> None:
    outputs = tmp_path / "one", tmp_path / "new/other"

    def write(path: Path, text: str) -> None:
        if is_folder:
            path.mkdir()
        (path / "file" if is_folder else path).write_text(text)

    for text in ("first", "second"):
        with step.publishing(*outputs) as names:
            for path in names:
                write(path, text)
        assert [(path / "file" if is_folder else path).read_text() for path in outputs] == [text, text]
    (tmp_path / ".part-one").write_text("of a killed step")

    def fill_the_disk() -> None:
        with step.publishing(*outputs) as names:
            write(names[0], "third")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as full:
        fill_the_disk()
    assert full.value.filename == str(outputs[0])
    assert [(path / "file" if is_folder else path).read_text() for path in outputs] == ["second", "second"]
    assert {path.name for path in (*tmp_path.iterdir(), *(tmp_path / "new").iterdir())} == {"one", "new", "other"}


@pytest.mark.usefixtures("workplace")
def test_facts_of_a_run_are_kept_stage_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["probe", "data"])
    step.RUN_FACTS.parent.mkdir()
    step.RUN_FACTS.write_text('{"download": {"seconds": 3}}')
    with pytest.raises(SystemExit) as ended:
        step.run(probe)
    assert ended.value.code == 0
    facts = json.loads(step.RUN_FACTS.read_text())
    assert facts["download"] == {"seconds": 3}
    assert facts["probe"]["device"] == "cpu"
    assert facts["probe"]["seconds"] >= 0


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("stage", ["download", "normalize"])
def test_a_bad_parameter_reaches_the_shell_as_status_two(tmp_path: Path, stage: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks")
    edit(tmp_path / "params.yaml", **{f"{stage}__surprise": 1})
    done = run(sys.executable, "-m", f"tasks.{stage}", "raw", *(["out"] if stage == "normalize" else []), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {stage}: params.yaml: {stage}.surprise: is no parameter; known here: ")


def test_wrong_arguments_show_the_usage() -> None:
    done = run(sys.executable, "-m", "tasks.normalize", "--help")
    assert done.returncode == 2
    assert done.stderr == "usage: python -m tasks.normalize RAW NORMALIZED\n"


def test_an_interpreter_without_the_packages_gets_one_line() -> None:
    done = run(sys.executable, "-S", "-m", "tasks.train", "a", "b", "c")
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "lacks the project's packages (keras, " in line
    assert "run `make setup`" in line


def test_download_and_normalize_never_import_tensorflow() -> None:
    code = (
        "import sys, tasks.download, tasks.normalize; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert run(sys.executable, "-c", code).returncode == 0


@pytest.mark.usefixtures("workplace")
def test_a_step_never_runs_twice_at_once_in_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe", "data"])
    step.RUN_FACTS.parent.mkdir()
    with FileLock(step.RUN_FACTS.with_name(".probe.lock")), pytest.raises(SystemExit) as ended:
        step.run(probe)
    assert ended.value.code == 75
    assert capsys.readouterr().err.startswith("error: probe: only one may run in a folder, and another holds")


def assert_it_ends_with_its_caller(code: str, line: str) -> None:
    """Kill the process that runs this code once it has printed the line; nothing more may come."""
    caller = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {code!r}]); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", caller], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{line}\n"
        process.kill()
        killed = time.monotonic()
        assert process.stdout.read() == ""  # the end of the pipe: the step has gone too
    assert time.monotonic() - killed < STEP_SECONDS / 2


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux system call")
def test_a_step_whose_caller_was_killed_while_it_imported_does_not_begin(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from tasks import CALLER, step\n"
        "def eager(path):\n    print('began', flush=True); return {}\n"
        "print('imported', flush=True)\n"
        "while os.getppid() == CALLER: time.sleep(0.01)\n"
        f"sys.argv = ['x', 'y']; os.chdir({str(tmp_path)!r}); step.run(eager)"
    )
    assert_it_ends_with_its_caller(code, "imported")


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux system call")
def test_a_step_ends_with_the_process_that_called_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from tasks import step\n"
        f"def sleeper(path):\n    print('started', flush=True); time.sleep({STEP_SECONDS}); return {{}}\n"
        f"sys.argv = ['x', 'y']; import os; os.chdir({str(tmp_path)!r}); step.run(sleeper)"
    )
    assert_it_ends_with_its_caller(code, "started")
