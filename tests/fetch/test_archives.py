"""Archives that would escape, explode or deceive: refused by name, and nothing is written outside."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.datasets import cifar10
from tasks.download import unpack
from tasks.fetch import archives
from tasks.fetch.transfer import SourceError

FIRST = "data_batch_1.bin"
Spoil = Callable[[tarfile.TarFile, dict[str, bytes]], None]


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **changes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in changes.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))


def named(name: str) -> Spoil:
    """The first file under another name."""
    return lambda tar, files: add(tar, name, files.pop(FIRST))


def special(kind: bytes, target: str = "") -> Spoil:
    """A member of another kind in place of the first file."""

    def spoil(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
        del files[FIRST]
        add(tar, FIRST, type=kind, linkname=target)

    return spoil


def without_one(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    del files[FIRST]


def twice(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    add(tar, f"copy/{FIRST}", files[FIRST])


def short(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    files[FIRST] = files[FIRST][:-1]


def long(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    files[FIRST] += b"x"


def other_bytes(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    files[FIRST] = files["data_batch_2.bin"]


def bad_label(tar: tarfile.TarFile, files: dict[str, bytes]) -> None:
    files[FIRST] = b"\x0a" + files[FIRST][1:]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the files belong; nothing may appear beside it."""
    made = tmp_path / "work/inside"
    made.mkdir(parents=True)
    yield made
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["inside"]
    assert {path.name for path in made.iterdir()} <= set(cifar10.FILES)
    assert not Path("/tmp/data_batch_1.bin").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (named(f"../../{FIRST}"), f"../../{FIRST} must be a path inside the archive"),
        (named(f"/tmp/{FIRST}"), f"/tmp/{FIRST} must be a path inside the archive"),
        (named(f"a/../../{FIRST}"), f"a/../../{FIRST} must be a path inside the archive"),
        (special(tarfile.SYMTYPE, "/etc/passwd"), f"{FIRST} must be one regular file"),
        (special(tarfile.LNKTYPE, "data_batch_2.bin"), f"{FIRST} must be one regular file"),
        (special(tarfile.CHRTYPE), f"{FIRST} must be one regular file"),
        (special(tarfile.FIFOTYPE), f"{FIRST} must be one regular file"),
        (special(tarfile.DIRTYPE), f"{FIRST} must be one regular file"),
        (without_one, f"lacks {FIRST}"),
        (twice, f"{FIRST} must be one regular file"),
        (short, f"{FIRST} must have 30,730,000 bytes; received 30,729,999"),
        (long, f"{FIRST} must be one regular file of at most 30,730,000 bytes"),
        (other_bytes, f"SHA-256 of {FIRST} must be"),
        (bad_label, f"SHA-256 of {FIRST} must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unexpected_member_is_refused_by_name(
    folder: Path, tmp_path: Path, raw_files: dict[str, bytes], digests: dict[str, str], spoil: Spoil, says: str
) -> None:
    files = {name: raw_files[name] for name in (FIRST, "data_batch_2.bin")}
    with tarfile.open(tmp_path / "spoiled.tar", "w") as tar:
        spoil(tar, files)
        for name, content in files.items():
            add(tar, name, content)
    with pytest.raises(SourceError) as caught:
        unpack(tmp_path / "spoiled.tar", folder, digests)
    assert says in str(caught.value)


def test_a_naive_extraction_would_have_written_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "spoiled.tar", "w") as tar:
        add(tar, f"../{FIRST}", b"x")
    (tmp_path / "inside").mkdir()
    with tarfile.open(tmp_path / "spoiled.tar") as tar:
        tar.extraction_filter = lambda member, _: member  # before 3.11.4, Python has no other way
        tar.extractall(tmp_path / "inside")
    assert (tmp_path / FIRST).exists()


@pytest.mark.slow
def test_unknown_members_are_passed_over(
    folder: Path, tmp_path: Path, raw_files: dict[str, bytes], digests: dict[str, str]
) -> None:
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        add(tar, "cifar/readme.html", b"<html>")
        add(tar, "cifar/link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        for name, content in raw_files.items():
            add(tar, f"cifar/{name}", content)
    unpack(tmp_path / "more.tar", folder, digests)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == raw_files


def bomb(path: Path, header: bytes, size: int = 2**30) -> Path:
    """A gzip file of a megabyte that unpacks to a header and a gigabyte of zeros."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header)
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2_000_000
    return path


@pytest.mark.parametrize(
    "member",
    [
        pytest.param({"name": "readme.html"}, id="a member that nobody asked for"),
        pytest.param({"name": "pax", "type": tarfile.XHDTYPE}, id="a header that would fill the memory"),
    ],
)
def test_a_bomb_is_refused_beyond_the_data_sets_size(
    folder: Path, tmp_path: Path, digests: dict[str, str], monkeypatch: pytest.MonkeyPatch, member: dict[str, object]
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**22)
    about = tarfile.TarInfo()
    for field, value in {**member, "size": 2**40}.items():
        setattr(about, field, value)
    header = about.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(SourceError, match="must unpack to at most 4,194,304 bytes"):
        unpack(bomb(tmp_path / "bomb.tar.gz", header, size=2**26), folder, digests)


@pytest.mark.parametrize("n", [0, 1, 300, 100_000])
def test_a_truncated_archive_is_no_archive(folder: Path, archive: Path, digests: dict[str, str], n: int) -> None:
    cut = folder.parent.parent / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:n])
    with pytest.raises(SourceError, match=r"cut.tar.gz (is not a readable archive|lacks)"):
        unpack(cut, folder, digests)


def test_flipped_bytes_in_the_compressed_stream_are_found(folder: Path, archive: Path, digests: dict[str, str]) -> None:
    content = bytearray(archive.read_bytes())
    # Many in a row: images as regular as these repeat, so that one byte may tell where to copy from and mean the same.
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    flipped = folder.parent.parent / "flipped.tar.gz"
    flipped.write_bytes(content)
    with pytest.raises(SourceError, match=r"is not a readable archive|SHA-256|must be|lacks"):
        unpack(flipped, folder, digests)
