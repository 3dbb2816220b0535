"""How a run ends: every child goes, and DVC keeps no lock.

The stage is a small one, in a repository of its own: real steps are ended in the other files.
"""

import contextlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.pipeline import stages
from flows.runs import processes
from flows.runs.processes import StageFailedError
from tests.support.clone import Clone
from tests.support.serving import heed_interrupts, wait_for


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with one stage, which sleeps for `seconds`."""
    made = Clone(tmp_path_factory.mktemp("ending") / "repository")
    made.path.mkdir()
    (made.path / "nap.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open('told', 'w').close(), sys.exit(1)))\n"
        "print('began', flush=True)\ntime.sleep(float(open('seconds').read()))\nopen('made', 'w').close()\n"
    )
    (made.path / "seconds").write_text("5")
    (made.path / "dvc.yaml").write_text("stages: {nap: {cmd: exec python nap.py, outs: [made]}}\n")
    made.run("git", "init", "--quiet")
    made.run("dvc", "init", "--quiet")
    made.run("dvc", "config", "core.analytics", "false")  # whose sender would outlive a command
    wait_for("DVC's own daemons to end", lambda: not running_in(made.path), 60)
    return made.path


@pytest.fixture
def checkout(origin: Path, tmp_path: Path) -> Path:
    """Copy it, to run in."""
    return shutil.copytree(origin, tmp_path / "repository")


def running_in(folder: Path) -> list[dict[str, Any]]:
    return [one.info for one in psutil.process_iter(["cmdline", "cwd"]) if one.info["cwd"] == str(folder)]


def assert_nothing_is_left(checkout: Path) -> None:
    """Find no process in the repository, no lock, and no output."""
    assert running_in(checkout) == []
    lock = checkout / ".dvc/tmp/rwlock"
    assert not lock.exists() or not any(json.loads(lock.read_text()).values())
    assert not (checkout / "made").exists()


def test_a_stage_that_is_left_alone_ends_well(checkout: Path) -> None:
    (checkout / "seconds").write_text("0")
    assert stages.reproduce(checkout, "nap", 60, print) == "ran"
    assert (checkout / "made").exists()


def test_what_is_ended_leaves_no_process_and_no_lock(checkout: Path) -> None:
    def end_soon(line: str) -> None:
        if line == "began":
            processes.terminate_all()

    try:
        with pytest.raises(StageFailedError, match="nap failed"):
            stages.reproduce(checkout, "nap", 60, end_soon)
    finally:
        processes.shutting_down.clear()
    assert (checkout / "told").exists()  # in time: who is killed cannot say so
    assert_nothing_is_left(checkout)


def test_what_starts_while_everything_is_ended_is_ended_too(checkout: Path) -> None:
    processes.terminate_all()
    try:
        with pytest.raises(StageFailedError, match="a late run failed"):
            processes.repro(checkout, "a late run", 60, print)
    finally:
        processes.shutting_down.clear()
    assert_nothing_is_left(checkout)


def test_a_signal_that_is_swallowed_while_a_line_is_logged_still_ends_the_stage(checkout: Path) -> None:
    def swallow(_: str) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    heed_interrupts()
    with pytest.raises(KeyboardInterrupt):
        stages.reproduce(checkout, "nap", 60, swallow)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_nothing_is_left(checkout)
