"""Archives on this disk: cached, checked, fetched by npm, and downloaded once by two processes."""

import functools
import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tenacity import wait_none

from tasks.fetch import mirrors, transfer
from tasks.fetch.mirrors import cache_folder, fetch_archive
from tasks.fetch.transfer import SourceError, UnreachableError
from tasks.params.download import Source
from tests.support import ROOT, scripted
from tests.support.scripted import Scripted, body, whole

CONTENT = np.random.default_rng(0).bytes(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<html>log in first</html>"

pytestmark = pytest.mark.usefixtures("cache_home")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(transfer, "_backoff", wait_none())
    with scripted.serving(CONTENT) as made:
        yield made


def test_an_archive_is_requested_once_and_then_cached(server: Scripted, cache_home: Path) -> None:
    for _ in range(2):
        assert fetch_archive(Source(url=server.url)) == cache_home / "a.tar.gz"
    assert (cache_home / "a.tar.gz").read_bytes() == CONTENT
    assert len(server.requested) == 1


def test_an_archive_put_into_the_cache_by_hand_is_used_unless_it_is_damaged(server: Scripted, cache_home: Path) -> None:
    cache_home.mkdir(parents=True)
    source = Source(url=server.url, sha256=SHA256)
    for content, n_requests in ((CONTENT, 0), (b"half an archive", 1)):
        (cache_home / "a.tar.gz").write_bytes(content)
        assert fetch_archive(source).read_bytes() == CONTENT
        assert len(server.requested) == n_requests


@pytest.mark.parametrize("lie", [CONTENT[::-1], PAGE], ids=["the right size", "a page"])
def test_wrong_bytes_are_refused_and_not_built_upon(server: Scripted, cache_home: Path, lie: bytes) -> None:
    server.script = [body(lie)]
    source = Source(url=server.url, sha256=SHA256, bytes=len(CONTENT))
    with pytest.raises(SourceError, match=r"SHA-256 of a.tar.gz.part must be \w{64}; received \w{64}"):
        fetch_archive(source)
    assert not list(cache_home.glob("a.tar.gz*[!k]"))  # but for the lock
    assert fetch_archive(source).read_bytes() == CONTENT
    assert server.ranges() == [None, None]


def test_two_downloads_at_once_send_one_request(server: Scripted) -> None:
    def slow(request: scripted.Request) -> None:
        time.sleep(0.3)
        whole(request)

    server.script = [slow]
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(fetch_archive, [Source(url=server.url)] * 2)
    assert first == second
    assert first.read_bytes() == CONTENT
    assert len(server.requested) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can become a user without an entry")
def test_a_user_without_entry_or_home_has_a_cache_folder() -> None:
    """As in a container that runs as a number."""
    code = (
        "import os, sys; from tasks.fetch.mirrors import cache_folder; os.setuid(54321)\n"
        "for home in ('/', '', None):\n"
        "    os.environ.pop('HOME', None) if home is None else os.environ.update(HOME=home)\n"
        "    print(cache_folder.__wrapped__(), file=sys.stderr)"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.split() == [".cache/downloads"] * 3


def test_a_cache_folder_that_cannot_be_written_is_one_of_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: Scripted
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(mirrors, "cache_folder", functools.cache(cache_folder.__wrapped__))
    assert fetch_archive(Source(url=server.url)) == Path(".cache/downloads/a.tar.gz")
    (note,) = capsys.readouterr().out.splitlines()
    assert note.startswith("download: archives are kept in .cache/downloads, as your cache folder cannot be written: ")
    assert "'/dev/null/.cache" in note


def test_git_and_dvc_ignore_the_cache_in_the_clone() -> None:
    assert "/.cache/" in (ROOT / ".gitignore").read_text().splitlines()
    assert ".cache" in (ROOT / ".dvcignore").read_text().splitlines()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm for the test's script, first on PATH: the real one needs a registry."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "npm"


def write_script(npm: Path, script: str) -> None:
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


def test_an_npm_package_is_fetched_with_npm_pack_and_its_own_cache(npm: Path, cache_home: Path) -> None:
    (npm.parent / "package.tgz").write_bytes(CONTENT)
    write_script(
        npm,
        'test "$1 $2 $3" = "pack pixels@1.0.0 --pack-destination" && test "$9" = --cache && mkdir "${10}" && '
        f'cp {npm.parent}/package.tgz "$4/pixels-1.0.0.tgz"',
    )
    assert fetch_archive(Source(npm="pixels@1.0.0")) == cache_home / "pixels-1.0.0.tgz"
    assert (cache_home / "pixels-1.0.0.tgz").read_bytes() == CONTENT
    assert not list(cache_home.glob(".npm*"))


@pytest.mark.parametrize(("code", "may_pass"), [("code E404", False), ("ENOTFOUND", True)])
def test_messages_of_npm_are_passed_on(npm: Path, code: str, may_pass: bool) -> None:
    write_script(npm, f"echo npm error {code} >&2; exit 1")
    with pytest.raises(SourceError, match=f"npm pack failed: npm error {code}") as caught:
        fetch_archive(Source(npm="pixels@1.0.0"))
    assert isinstance(caught.value, UnreachableError) == may_pass


def test_without_npm_its_source_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SourceError, match="npm is not installed"):
        fetch_archive(Source(npm="pixels@1.0.0"))
