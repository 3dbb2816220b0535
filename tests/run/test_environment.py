"""The caller's environment, home and container change no result."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.host import resources
from tasks.reporting import figures
from tasks.run import environment
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.import_graph import STAGES

NOWHERE = "127.0.0.1:9"  # the port of `discard`, where nobody listens

HOSTILE = {
    "GIT_DIR": "/nowhere/.git",
    "GIT_INDEX_FILE": "/nowhere/index",
    "DVC_STAGE": "another",
    "KERAS_MAX_EPOCHS": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MPLBACKEND": "module://of.a.notebook",
    "PYTHONOPTIMIZE": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONIOENCODING": "ascii",
    "SHELL": "/bin/false",
    "BASH_ENV": "/nowhere/profile",
    "FORCE_COLOR": "1",
    "LANG": "C",
    "TZ": "Pacific/Kiritimati",
    "HTTP_PROXY": f"http://{NOWHERE}",
    "https_proxy": f"http://{NOWHERE}",
    "ALL_PROXY": f"socks://{NOWHERE}",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a home whose personal files would change results."""
    folder = tmp_path / "home"
    (folder / ".keras").mkdir(parents=True)
    (folder / ".keras/keras.json").write_text(json.dumps({"image_data_format": "channels_first", "floatx": "float16"}))
    (folder / ".config/matplotlib").mkdir(parents=True)
    matplotlibrc = "font.size: 30\naxes.grid: True\nsvg.fonttype: path\n"
    (folder / ".config/matplotlib/matplotlibrc").write_text(matplotlibrc)
    return folder


def called_from(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a hostile caller with that home."""
    inherited = {name: value for name, value in environment.items() if name != "XDG_CONFIG_HOME"}
    return {**inherited, **HOSTILE, "HOME": str(home)}


@pytest.fixture
def hostile(clone: Clone, home: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    monkeypatch.setattr(clone, "environment", called_from(home, clone.environment))
    return clone


@pytest.mark.slow
def test_stages_give_the_same_bytes_whoever_calls(hostile: Clone) -> None:
    assert "Running stage 'report'" in hostile.run("dvc", "repro", "--force")
    hostile.environment = {**hostile.environment, "GIT_DIR": f"{hostile.path}/.git"}
    hostile.environment.pop("GIT_INDEX_FILE")
    assert hostile.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_personal_files_decide_neither_how_keras_computes_nor_how_figures_look(home: Path) -> None:
    epoch = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1}
    code = (
        "from tasks.device import runtime; from tasks.reporting import figures; import keras, matplotlib\n"
        "print(keras.config.image_data_format(), keras.config.floatx(), matplotlib.rcParams['font.size'])\n"
        f"print(figures.learning_curves([{epoch}]))"
    )
    environment = called_from(home, {"PATH": os.environ["PATH"]})
    del environment["PYTHONSAFEPATH"]  # with which Python itself finds no `tasks`
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True)
    settings, svg = said.split("\n", 1)
    assert settings == "channels_last float32 30.0"  # the latter are there, and figures do without them
    assert svg == figures.learning_curves([epoch]) + "\n"


def test_what_remains_is_the_same_whoever_calls() -> None:
    calm = {"PATH": os.defpath, "HOME": "/root", "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "1"}
    sanitized, hostile = dict(calm), {**calm, **HOSTILE}
    environment.sanitize_environment(sanitized)
    environment.sanitize_environment(hostile)
    proxies = {name for name in hostile if name.lower().endswith("_proxy")}
    assert {name: value for name, value in hostile.items() if name not in proxies | {"LANG", "TZ"}} == sanitized
    assert sanitized.items() >= calm.items() - {("PATH", os.defpath)}, "a chosen backend and device stay"
    again = dict(hostile)
    environment.sanitize_environment(again)
    assert again == hostile


@pytest.mark.parametrize(
    ("given", "expected"), [("", "localhost,127.0.0.1,::1"), ("*", "*"), ("a.org", "a.org,localhost,127.0.0.1,::1")]
)
def test_a_proxy_is_not_asked_for_this_machine(given: str, expected: str) -> None:
    environ = {"PATH": os.defpath, "HOME": "/root", "http_proxy": f"http://{NOWHERE}", "NO_PROXY": given}
    environment.sanitize_environment(environ)
    assert environ["no_proxy"] == environ["NO_PROXY"] == expected


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Python with the hook of `make setup`, and scripts that print two variables."""
    folder = tmp_path_factory.mktemp("project")
    venv.create(folder / ".venv", symlinks=True)
    (folder / "tasks").symlink_to(ROOT / "tasks")
    show_hook = ["make", "--silent", "--eval", "show-hook: ; @echo '$(hook)'", "show-hook"]
    hook = subprocess.run(show_hook, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (site,) = (folder / ".venv").glob("lib/python3*/site-packages")
    (site / "environment.pth").write_text(hook)
    for name in ("dvc", "prefect", "dvc.py", "script.py", "pytest"):
        (folder / name).write_text("import os; print(os.environ.get('MPLBACKEND'), os.environ.get('LC_ALL'))\n")
    return folder / ".venv/bin/python"


def environment_of(command: str, interpreter: Path) -> str:
    return subprocess.run(
        [interpreter, *command.split()],
        cwd=interpreter.parents[2],
        env={"MPLBACKEND": "agg", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("command", ["dvc repro", "./prefect worker start", "-u dvc repro", "-m dvc"])
def test_the_hook_sanitizes_dvc_and_prefect(interpreter: Path, command: str) -> None:
    assert environment_of(command, interpreter) == "None C\n"


@pytest.mark.parametrize("command", ["script.py", "pytest dvc", "-m script dvc"])
def test_the_hook_leaves_other_programs_their_environment(interpreter: Path, command: str) -> None:
    assert environment_of(command, interpreter) == "agg C.UTF-8\n"


@pytest.mark.slow
def test_a_flow_and_its_server_work_behind_proxies(hostile: Clone) -> None:
    del hostile.environment["PYTHONSAFEPATH"]  # with which Python itself finds no `flows`
    said = hostile.run(sys.executable, "-m", "flows.pipeline")
    assert said.count("Cached") == len(STAGES), said
    assert "Traceback" not in said


def in_namespace(*command: str, before: str = "true", user: int = 0, **variables: str) -> str:
    """Run a command as a container would: another user, mounts, and few variables."""
    inner = ["unshare", "--user", f"--map-user={user}", f"--map-group={user}", *command] if user else list(command)
    outer = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{before} && exec "$@"', "sh", *inner]
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(
        outer, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def namespaces_work() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "--user", "--map-root-user", "--mount", "unshare", "--user", "--map-user=1", "mount", "--help"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


container = pytest.mark.skipif(not namespaces_work(), reason="this system lets nobody make namespaces")


@container
def test_dvc_works_for_a_user_without_an_entry() -> None:
    """`docker run --user 12345`, with a home that is read-only: DVC asks for the user's name."""
    in_namespace("dvc", "status", "normalize", user=12345, HOME="/srv", before="mount -t tmpfs -o ro none /srv")


@container
def test_threads_and_jobs_follow_the_containers_limits() -> None:
    """Of 64 cores, as Python is told, eight may be used, and memory for three jobs."""
    memory = str(3 * resources.JOB_BYTES)
    forms: list[dict[str, str]] = [
        {"cpu.max": "800000 100000", "memory.max": memory},  # cgroup v2
        {},
        {  # cgroup v1
            "cpu/cpu.cfs_quota_us": "800000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": memory,
        },
    ]
    code = (
        "import os; os.cpu_count = lambda: 64; os.sched_getaffinity = lambda _: set(range(64))\n"
        "from pathlib import Path; from flows.host import resources; from tasks.device import runtime\n"
        f"for files in {forms}:\n"
        "    for name, content in files.items():\n"
        "        Path('/sys/fs/cgroup', name).write_text(content)\n"
        "    print(runtime.prepare('cpu').threads, resources.default_jobs())\n"
        "    for name in files:\n"
        "        Path('/sys/fs/cgroup', name).unlink()\n"
    )
    before = "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/cpu /sys/fs/cgroup/memory"
    in_version_2, free, in_version_1 = in_namespace(
        sys.executable, "-c", code, before=before, HOME="/tmp"
    ).splitlines()[-3:]
    assert in_version_2 == in_version_1 == "8 3"
    assert free.startswith("64 ")
