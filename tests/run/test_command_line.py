"""How a step ends: the status and the one line for each kind of error."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tasks import errors
from tasks.normalize import normalize
from tasks.params import ParameterError
from tasks.run import command_line, libraries
from tasks.run.metadata import RUN_INFO
from tests.support import ROOT

STEP_SECONDS = 10  # of one that its caller's death must end before it says more


def probe(raw: Path) -> command_line.RunInfo:
    """A step whose outcome is named by its path."""
    outcomes: dict[str, Callable[[], Exception]] = {
        "parameter": lambda: ParameterError("params.yaml: train.epochs: must be at least 1"),
        "refused": lambda: errors.RefusedError("fix the data"),
        "temporary": lambda: errors.TemporaryError("try again"),
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
    monkeypatch.setattr(sys, "argv", ["probe", "--raw", outcome])
    with pytest.raises(SystemExit) as ended:
        command_line.run(probe)
    assert ended.value.code == status
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert not RUN_INFO.exists()


@pytest.mark.parametrize(("line", "installed"), [('numpy: "1.26.4"', "[0-9.]+"), ('none-such: "1.0 or 2.0"', "none")])
def test_a_step_refuses_another_version_of_a_library(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    installed: str,
) -> None:
    (workplace / "libraries.yaml").write_text(f"{line}\n")
    monkeypatch.setattr(sys, "argv", ["probe", "--raw", "data"])
    with pytest.raises(SystemExit) as ended:
        command_line.run(probe)
    assert ended.value.code == 2
    name, wanted = line.replace('"', "").split(": ")
    (said,) = capsys.readouterr().err.splitlines()
    rule = f"error: probe: libraries.yaml: {name}: must be {wanted} where a stage runs; {sys.executable} has "
    assert re.match(re.escape(rule) + rf"{installed}; run `rm -f .venv/ready && make setup` and", said)
    assert not RUN_INFO.exists()


def test_what_is_installed_here_is_what_the_lock_says() -> None:
    libraries.check_libraries(ROOT / "libraries.yaml")


@pytest.mark.parametrize("content", [b'{"download": {"seconds": 3}}', b"", b"{", b"[1]", b"\xff"])
@pytest.mark.usefixtures("workplace")
def test_a_damaged_record_of_earlier_runs_costs_no_run(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """A whole one is kept."""
    monkeypatch.setattr(sys, "argv", ["probe", "--raw", "data"])
    RUN_INFO.parent.mkdir()
    RUN_INFO.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        command_line.run(probe)
    assert ended.value.code == 0
    info = json.loads(RUN_INFO.read_text())
    note = info.pop("probe")
    assert (note["device"], note["seconds"] >= 0) == ("cpu", True)
    assert info == ({"download": {"seconds": 3}} if b"download" in content else {})


USAGE = "usage: python -m tasks.normalize --raw PATH --normalized PATH --report PATH --weights PATH"
REPORT = ("--report", "report.json", "--weights", "list")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (REPORT, "the following arguments are required: --raw, --normalized"),
        (("--raw", "--normalized", "out", *REPORT), "argument --raw: expected one argument"),
        (("--raw", "raw", "--norm", "out", *REPORT), "the following arguments are required: --normalized"),
        (("--raw", "raw", "--normalized", "out", *REPORT, "--model", "m"), "unrecognized arguments: --model m"),
    ],
)
def test_wrong_arguments_end_with_two_and_the_usage(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.parse_paths(normalize, list(arguments))
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [USAGE, f"python -m tasks.normalize: error: {complaint}"]


def test_a_flag_is_a_parameter_without_path_and_help_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    paths = command_line.parse_paths(normalize, ["--raw", "a", "--normalized", "b", *REPORT])
    assert paths == {
        "raw": Path("a"),
        "normalized": Path("b"),
        "report_path": Path("report.json"),
        "weights": Path("list"),
    }
    with pytest.raises(SystemExit) as ended:
        command_line.parse_paths(normalize, ["--help"])
    assert ended.value.code == 0
    usage, _, description, *_ = capsys.readouterr().out.splitlines()
    assert (usage, description) == (USAGE, "Write the arrays of each split, and a report on them.")


def test_an_interpreter_without_the_packages_gets_one_line() -> None:
    command = [sys.executable, "-S", "-m", "tasks.train", "--normalized", "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "lacks the project's packages (keras, " in line
    assert "run `make setup`" in line


@pytest.mark.slow
def test_download_and_normalize_never_import_tensorflow() -> None:
    code = "import sys, tasks.download, tasks.normalize; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.usefixtures("workplace")
def test_a_step_never_runs_twice_at_once_in_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe", "--raw", "data"])
    RUN_INFO.parent.mkdir()
    with FileLock(RUN_INFO.with_name(".probe.lock")), pytest.raises(SystemExit) as ended:
        command_line.run(probe)
    assert ended.value.code == 75
    assert capsys.readouterr().err.startswith("error: probe: must run once at a time in a folder; another run holds")


def assert_it_ends_with_its_caller(code: str, line: str) -> None:
    """Kill the process that runs this code once it has printed the line; nothing more may come."""
    caller = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {code!r}]); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", caller], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{line}\n"
        process.kill()
        assert process.stdout.read() == ""  # the end of the pipe: the step has gone too


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux system call")
def test_a_step_orphaned_while_it_imported_does_not_begin(tmp_path: Path) -> None:
    """Its parent was killed before the step could ask for a signal of it."""
    shutil.copy(ROOT / "libraries.yaml", tmp_path)
    code = (
        "import os, sys, time; from tasks import PARENT_PID; from tasks.run import command_line\n"
        "def eager(*, out):\n    print('began', flush=True); return {}\n"
        "print('imported', flush=True)\n"
        "while os.getppid() == PARENT_PID: time.sleep(0.01)\n"
        f"sys.argv = ['x', '--out', 'y']; os.chdir({str(tmp_path)!r}); command_line.run(eager)"
    )
    assert_it_ends_with_its_caller(code, "imported")


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux system call")
def test_a_step_ends_with_its_parent_process(tmp_path: Path) -> None:
    shutil.copy(ROOT / "libraries.yaml", tmp_path)
    code = (
        "import sys, time; from tasks.run import command_line\n"
        "def sleeper(*, out):\n"
        f"    print('started', flush=True); time.sleep({STEP_SECONDS}); print('left alone', flush=True); return {{}}\n"
        f"sys.argv = ['x', '--out', 'y']; import os; os.chdir({str(tmp_path)!r}); command_line.run(sleeper)"
    )
    assert_it_ends_with_its_caller(code, "started")
