"""Small real inputs for the tests: CIFAR-10-format files, a server that serves them, a scratch clone."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from tasks.core import cifar10

ROOT = Path(__file__).resolve().parents[1]
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")  # of the tests' own commits, and of no others


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user whom git does not know, and whose name it must not guess: as in a fresh container."""
    config = tmp_path_factory.mktemp("nobody") / "gitconfig"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EMAIL", *(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL"))):
            patch.delenv(name, raising=False)
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """TensorFlow takes its threads once a process: as the steps set them, before a test needs it, if any does."""
    if "keras" in sys.modules:
        from tasks import runtime

        runtime.prepare()


@pytest.fixture(scope="session")
def raw_files() -> dict[str, bytes]:
    """The six files, with images that a small network can learn: a class is a colour and a stripe."""
    rng = np.random.default_rng(0)
    files = {}
    for name in cifar10.FILES:
        labels = rng.permutation(np.arange(cifar10.RECORDS) % 10).astype(np.uint8)
        images = np.zeros((cifar10.RECORDS, 32, 32, 3), np.uint8)
        images[..., 0] = (labels * 20)[:, None, None]
        images[..., 1] = rng.integers(0, 256, (cifar10.RECORDS, 1, 32), dtype=np.uint8)
        images[np.arange(cifar10.RECORDS), labels * 3, :, 2] = 255
        files[name] = cifar10.encode(images, labels)
    return files


@pytest.fixture(scope="session")
def digests(raw_files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in raw_files.items()}


@pytest.fixture(scope="session")
def archive(raw_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six files as the official archive holds them."""
    path = tmp_path_factory.mktemp("mirror") / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in raw_files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


class Server(ThreadingHTTPServer):
    """Serves a folder on loopback and remembers the paths that were asked for."""

    def __init__(self, folder: Path):
        self.requested: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.requested.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


@pytest.fixture(scope="session")
def mirror(archive: Path) -> Iterator[Server]:
    with Server(archive.parent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder instead of the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tasks.download.cache_folder", lambda: tmp_path / "cache" / "cifar10-regularization")
    return tmp_path / "cache" / "cifar10-regularization"


def edit(file: Path, **changes: Any) -> None:
    """Set parameters of a params.yaml; `a__b=1` stands for the key a.b."""
    yaml = YAML()
    content = yaml.load(file)
    for key, value in changes.items():
        *blocks, name = key.split("__")
        place = content
        for block in blocks:
            place = place[block]
        place[name] = value
    yaml.dump(content, file)


# Seconds instead of minutes: a thousand images and a network of a few filters.
SMALL = {
    "normalize__train_images": 1000,
    "normalize__validation_fraction": 0.02,
    "model__filters": [4, 8],
    "model__dense_units": 8,
    "train__epochs": 2,
    "train__precision": "float32",
    "evaluate__batch_size": 2000,
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with small parameters, where a step's function can be called."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    edit(tmp_path / "params.yaml", **SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Clone:
    """A scratch clone of this repository, working tree included, driven with the real dvc and git."""

    def __init__(self, path: Path):
        self.path = path
        self.first_run = ""
        cache = path.parent / "user-cache"
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(cache),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the clone; its output, once its status is the expected one."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == status, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def reset(self) -> None:
        """Back to the first run, whatever tests did since: files, experiments, checkpoints and the run cache."""
        shutil.rmtree(self.path / ".checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / ".dvc/tmp/worktrees", ignore_errors=True)
        self.run("bash", "-c", "git for-each-ref --format='delete %(refname)' refs/exps | git update-ref --stdin")
        (self.path / ".dvc/config.local").unlink(missing_ok=True)
        runs, kept = self.path / ".dvc/cache/runs", self.path.parent / "runs"
        shutil.rmtree(runs)
        shutil.copytree(kept, runs)
        self.run("git", "checkout", "--quiet", "--force", "-B", "main", "first-run")
        self.run("git", "clean", "--quiet", "--force", "-d")
        self.run("dvc", "checkout", "--quiet", "--force")

    def edit(self, **changes: Any) -> None:
        edit(self.path / "params.yaml", **changes)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", *IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message)


def copy_tracked(target: Path) -> None:
    """Copy this repository's files, edits included, but nothing that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, mirror: Server, archive: Path, digests: dict[str, str]) -> Clone:
    """A clone after its first `dvc repro`, committed; its data set is the small one of the tests.

    Nothing else in it differs from this repository. Tests use it through `clone`.
    """
    made = Clone(tmp_path_factory.mktemp("scratch") / "clone")
    copy_tracked(made.path)
    source = {"url": f"{mirror.url}/{archive.name}"}
    made.edit(**SMALL, download__digests=digests, download__sources=[source])
    made.run("git", "init", "--quiet", "--initial-branch", "main")
    made.commit("start")
    mirror.requested.clear()
    made.first_run = made.run("dvc", "repro")
    assert len(mirror.requested) == 1
    made.commit("first run")
    made.run("git", "tag", "first-run")
    shutil.copytree(made.path / ".dvc/cache/runs", made.path.parent / "runs")
    return made


@pytest.fixture(scope="module")
def clone(trained: Clone) -> Clone:
    """The trained clone, as it was after its first run; no Prefect server in it knows of an earlier one."""
    shutil.rmtree(trained.path / ".prefect", ignore_errors=True)
    trained.reset()
    return trained
