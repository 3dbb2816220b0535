"""Steps that a fork server runs: as if each had been started by itself, and ended with whoever called it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.fork_servers import fork_server
from flows.shares import share
from tasks.fork_client import CODE
from tasks.fork_server import LIBRARIES
from tasks.notes import RUN_INFO
from tests.support import ROOT
from tests.support.arrays import (
    BACKBONE,
    DATA,
    HISTORY,
    METRICS,
    MODEL,
    PREDICTIONS,
    SIZES,
    write_arrays,
)
from tests.support.import_graph import closure, third_party
from tests.support.parameters import SMALL, edit
from tests.support.serving import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork servers are for Linux")

TELL = """\
import json, os, sys, tasks
loaded = [name for name in ("sklearn", "tasks.backend") if name in sys.modules]
print(json.dumps({"loaded": loaded, "arguments": sys.argv[1:], "code": tasks.__file__,
    "run": os.environ.get("PREFECT_RUN"), "said": sys.stdin.read()}))
os.environ["PREFECT_RUN"] = "left behind"
sys.exit("ended with an error")
"""
NAP = """\
import os, signal, sys, time
from tasks.parent import end_with_parent
end_with_parent()
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print(os.getpid(), flush=True)
    for _ in range(600):
        time.sleep(0.1)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small steps, whose backend is none, as TensorFlow takes seconds."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "tasks").mkdir()
    for name in CODE:
        shutil.copy(ROOT / "tasks" / name, folder / "tasks")
    (folder / "tasks/backend.py").write_text("")
    (folder / "tasks/tell.py").write_text(TELL)
    (folder / "tasks/nap.py").write_text(NAP)
    return folder


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[dict[str, str]]:
    """The environment of a trial's steps, with a server of the project."""
    with serving(project) as environment:
        yield environment


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    own = share(0, 1)
    with fork_server(root, own) as named:
        wait_for("the server", Path(named["FORK_SERVER"]).exists)
        yield {**os.environ, **own.variables, **named}


@pytest.fixture
def worktree(project: Path, tmp_path: Path) -> Path:
    """A folder whose steps begin as the project's do, and are its own."""
    return Path(shutil.copytree(project, tmp_path, dirs_exist_ok=True))


def tell(worktree: Path, environment: dict[str, str], **variables: str) -> dict[str, Any]:
    """What a step says of itself, which ends with an error."""
    done = subprocess.run(
        [sys.executable, "-u", "-m", "tasks.tell", "a b", "-m"],
        cwd=worktree,
        env={**environment, **variables},
        input="on its standard input",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "ended with an error\n")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def is_forked(said: dict[str, Any]) -> bool:
    return "sklearn" in said["loaded"]


def test_a_step_is_a_fork_that_was_called_as_its_caller_was(worktree: Path, served: dict[str, str]) -> None:
    assert tell(worktree, served, PREFECT_RUN="first") == {
        "loaded": ["sklearn"],  # and nothing of the server's own code
        "arguments": ["a b", "-m"],
        "code": str(worktree / "tasks/__init__.py"),
        "run": "first",
        "said": "on its standard input",
    }
    assert tell(worktree, served)["run"] is None


@pytest.mark.parametrize("variable", ["KERAS_BACKEND", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"])
def test_a_step_of_another_environment_goes_on_by_itself(worktree: Path, served: dict[str, str], variable: str) -> None:
    assert not is_forked(tell(worktree, served, **{variable: "3"}))


def test_a_step_of_other_code_before_its_libraries_goes_on_by_itself(worktree: Path, served: dict[str, str]) -> None:
    with (worktree / "tasks/backend.py").open("a") as file:
        file.write("# another commit\n")
    assert not is_forked(tell(worktree, served))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_a_step_on_fewer_cores_goes_on_by_itself(worktree: Path, served: dict[str, str]) -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert not is_forked(tell(worktree, served))
    finally:
        os.sched_setaffinity(0, cores)


def test_a_step_whose_server_is_gone_goes_on_by_itself(worktree: Path, served: dict[str, str]) -> None:
    assert not is_forked(tell(worktree, {**served, "FORK_SERVER": str(worktree / "nothing")}))


def is_over(process: psutil.Process) -> bool:
    """Whether a process has ended; one without a parent may stay a zombie for a while."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def napping(worktree: Path, served: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A step that takes a minute: its caller, and the fork."""
    command = [sys.executable, "-u", "-m", "tasks.nap"]
    with subprocess.Popen(command, cwd=worktree, env=served, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        fork = psutil.Process(int(caller.stdout.readline()))
        assert fork.pid != caller.pid
        yield caller, fork
        caller.kill()


def test_a_signal_to_the_caller_is_one_to_the_step(napping: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    caller, fork = napping
    caller.terminate()
    assert caller.wait(10) == 130
    assert is_over(fork)


def test_a_step_ends_with_its_killed_caller(napping: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    caller, fork = napping
    caller.kill()
    wait_for("the end of the fork", lambda: is_over(fork), 10)


@pytest.mark.parametrize("killed", ["step", "who watches it"])
def test_a_caller_ends_like_its_killed_step(napping: tuple[subprocess.Popen[str], psutil.Process], killed: str) -> None:
    caller, fork = napping
    (fork if killed == "step" else fork.parent()).kill()
    assert caller.wait(10) == -signal.SIGKILL
    wait_for("the end of the fork", lambda: is_over(fork), 10)


def test_a_server_ends_with_its_killed_study_and_takes_its_steps_and_its_socket_with_it(
    project: Path, worktree: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    study = (
        "import subprocess, sys; from pathlib import Path; from tests.test_fork_server import serving\n"
        f"with serving(Path({str(project)!r})) as environment:\n"
        f"    step = [sys.executable, '-u', '-m', 'tasks.nap']\n"
        f"    subprocess.run(step, cwd={str(worktree)!r}, env=environment)\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", study]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert list(temporary.rglob("fork-server"))
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) == 4  # the server, who watches, the step and its caller
        process.kill()
        wait_for("the end of all", lambda: all(is_over(one) for one in below), 10)
    assert not list(temporary.iterdir())


def test_every_library_that_train_and_evaluate_import_is_there_beforehand() -> None:
    files = {file for step in ("train", "evaluate") for file in closure(ROOT / f"tasks/{step}.py", ROOT)}
    imported = set().union(*(third_party(file) for file in files if file.suffix == ".py")) - sys.stdlib_module_names
    lazily = {"jax", "tensorflow"}  # the one is Keras' own import, the other another backend
    assert {name.split(".")[0] for name in LIBRARIES} | {"keras"} == imported - lazily


@pytest.mark.slow
def test_a_fork_makes_the_same_bytes(tmp_path: Path) -> None:
    steps = (
        f"train --normalized {DATA} --backbone {BACKBONE} --model {MODEL} --history {HISTORY}",
        f"evaluate --normalized {DATA} --model {MODEL} --metrics {METRICS} --predictions {PREDICTIONS}",
    )
    with serving(ROOT) as served:
        alone = {name: value for name, value in served.items() if name != "FORK_SERVER"}
        for place, environment in (("alone", alone), ("forked", served)):
            folder = tmp_path / place
            shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("params.yaml", "libraries.yaml"):
                shutil.copy(ROOT / name, folder)
            edit(folder / "params.yaml", **SMALL, train__threads=2, regularize__dropout=0.2)
            write_arrays(folder / DATA, **SIZES)
            for step in steps:
                command = [sys.executable, "-u", "-m", *f"tasks.{step}".split()]
                subprocess.run(command, cwd=folder, env=environment, check=True)
        (folder / "tasks/tell.py").write_text(TELL)
        assert is_forked(tell(folder, served))
    outputs = [file.relative_to(folder) for made in ("models", "reports") for file in (folder / made).rglob("*.*")]
    assert {MODEL, HISTORY, METRICS, PREDICTIONS} < set(outputs)
    for output in outputs:
        if output != RUN_INFO:
            assert (tmp_path / "alone" / output).read_bytes() == (tmp_path / "forked" / output).read_bytes(), output
