"""Fixtures of all tests: a nameless user, files like CIFAR-10's, a server of them, a scratch clone."""

import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tasks.datasets import cifar10
from tests.support import ROOT
from tests.support.clone import Clone, copy_tracked
from tests.support.mirror import Server
from tests.support.parameters import SMALL, edit
from tests.support.raw import ARCHIVE, write_archive, write_checksums, write_files


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests a user whom git does not know and whose name it must not guess, as in a fresh container."""
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
    """Set TensorFlow's threads as the steps do, which works only before its first use in a process."""
    if "keras" in sys.modules:
        from tasks.device import runtime

        runtime.prepare()


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a folder in the first process that needs it, for all processes of these tests."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / f"shared-{name}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                partial = folder.with_suffix(".part")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                fill(partial)
                partial.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def raw(once: Once) -> Path:
    """A folder with CIFAR-10's six files, whose images a small network can learn; tests only read it."""
    return once("raw", write_files)


@pytest.fixture(scope="session")
def raw_files(raw: Path) -> dict[str, bytes]:
    return {name: (raw / name).read_bytes() for name in cifar10.FILES}


@pytest.fixture(scope="session")
def digests(raw_files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in raw_files.items()}


@pytest.fixture(scope="session")
def archive(once: Once, raw: Path) -> Path:
    """The six files as the official archive holds them."""
    return once("mirror", lambda folder: write_archive(folder, raw)) / ARCHIVE


@pytest.fixture(scope="session")
def mirror(archive: Path) -> Iterator[Server]:
    with Server(archive.parent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder instead of the user's own."""
    folder = tmp_path / "cache" / "cifar10-regularization"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    monkeypatch.setattr("tasks.fetch.mirrors.cache_folder", lambda: folder)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with small parameters, where a step's function can be called."""
    for name in ("params.yaml", "libraries.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    edit(tmp_path / "params.yaml", **SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(
    once: Once, tmp_path_factory: pytest.TempPathFactory, mirror: Server, archive: Path, digests: dict[str, str]
) -> Clone:
    """A clone after its first `dvc repro`, committed, whose data set is the small one of the tests.

    One process runs `dvc repro`, and each has a copy with a mirror of its own. Tests use it through `clone`.
    """
    source = {"url": f"{mirror.url}/{archive.name}"}

    def run_first(folder: Path) -> None:
        first = Clone(folder / "clone")
        copy_tracked(first.path)
        first.edit(**SMALL, download__sources=[source])
        write_checksums(first.path / "data/cifar10.sha256", digests)
        first.run("git", "init", "--quiet", "--initial-branch", "main")
        first.commit("start")
        mirror.requested.clear()
        (folder / "output").write_text(first.run("dvc", "repro"), encoding="utf-8")
        assert len(mirror.requested) == 1
        first.commit("first run")

    scratch = tmp_path_factory.mktemp("scratch")
    shutil.copytree(once("trained", run_first), scratch, symlinks=True, dirs_exist_ok=True)
    made = Clone(scratch / "clone")
    made.first_run = (scratch / "output").read_text(encoding="utf-8")
    made.edit(download__sources=[source])
    made.commit("first run", "--amend")
    made.keep()
    return made


@pytest.fixture(scope="module")
def clone(trained: Clone) -> Clone:
    """The trained clone as it was after its first run, without Prefect's database of earlier tests."""
    shutil.rmtree(trained.path / ".prefect", ignore_errors=True)
    trained.reset()
    return trained
