"""What dvc.yaml names, checked before DVC reads it: by the command, the flows and the hook."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.repo.git import git
from flows.runs.inputs import check_checkout
from tasks.check_images import check_images
from tasks.params import ParameterError
from tests.support import ROOT
from tests.support.own_images import FLOWERS, photo, write_files

Spoil = Callable[[Path], object]
LATIN_1 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose slot is a link to a folder."""
    for name in ("dvc.yaml", "params.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("data/cifar10.sha256", "data/images"), encoding="utf-8")
    write_files(tmp_path / "flowers", FLOWERS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/images").symlink_to(tmp_path / "flowers")
    git(tmp_path, "init", "--quiet")
    return tmp_path


@pytest.mark.parametrize(
    ("images", "spoil", "says"),
    [
        ("data/images", lambda rose: (rose / LATIN_1).write_bytes(photo(1)), r"must be UTF-8 .*'rose/caf\\udce9.png'"),
        ("./data/images/", lambda rose: (rose / "gone.png").symlink_to("nowhere"), "must exist, .* rose/gone.png"),
        ("data/images", lambda rose: os.mkfifo(rose / "pipe.png"), "a regular file, .*; received rose/pipe.png"),
        ("data/images", lambda rose: (rose / "b").symlink_to(".."), "no link, .*normalize.classes.*; received rose/b"),
        ("~/flowers", Path.exists, f"without ~; received ~/flowers; write {re.escape(str(Path.home()))}/flowers"),
        ("data/.hidden", Path.exists, "that .dvcignore does not hide from DVC; received data/.hidden"),
    ],
    ids=["latin-1", "broken link", "pipe", "link to a folder", "home", "hidden"],
)
def test_what_dvc_would_stop_at_is_said_before(checkout: Path, images: str, spoil: Spoil, says: str) -> None:
    check_checkout(checkout)
    graph = checkout / "dvc.yaml"
    graph.write_text(graph.read_text(encoding="utf-8").replace("images: data/images", f"images: {images}"))
    (checkout / "data/.hidden").symlink_to(checkout / "flowers")
    spoil(checkout / "flowers/rose")
    with pytest.raises(ParameterError, match=f"dvc.yaml: images: .*{says}"):
        check_checkout(checkout)


@pytest.mark.parametrize("graph", ["", "vars: 7", "vars: [a]", "stages: {}", "vars: [", "vars:\n  - images: nowhere"])
def test_what_dvc_or_download_refuses_is_left_to_them(tmp_path: Path, graph: str) -> None:
    check_images(tmp_path)
    (tmp_path / "dvc.yaml").write_text(graph)
    check_images(tmp_path)


@pytest.mark.parametrize(("command", "status"), [("repro", 2), ("status", 2), ("push", 0)])
def test_the_hook_ends_dvc_in_our_words(checkout: Path, command: str, status: int) -> None:
    (checkout / "flowers/rose" / LATIN_1).write_bytes(photo(1))
    hook = f"import runpy; runpy.run_path({str(ROOT / 'tasks/run/environment.py')!r}, run_name='environment')"
    done = subprocess.run(
        [sys.executable, "-c", hook, command], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("error: dvc.yaml: images: a path must be UTF-8 ") == bool(status)
    assert done.stderr.count("\n") == bool(status)
