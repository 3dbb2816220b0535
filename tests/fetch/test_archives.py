"""Archives that would escape, explode or deceive: refused by name, and nothing is written outside."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.datasets import cifar10
from tasks.download import unpack
from tasks.fetch import archives
from tasks.fetch.transfer import SourceError

SIZE = 5_000  # in place of the 30,730,000 bytes of CIFAR-10's files
FILES = {name: np.random.default_rng(seed).bytes(SIZE) for seed, name in enumerate(cifar10.FILES)}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
FIRST = "data_batch_1.bin"
Spoil = Callable[[tarfile.TarFile, dict[str, bytes]], None]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "FILE_BYTES", SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the files belong; nothing may appear beside it."""
    made = tmp_path / "work/inside"
    made.mkdir(parents=True)
    yield made
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["inside"]
    assert {path.name for path in made.iterdir()} <= set(cifar10.FILES)
    assert not Path("/tmp", FIRST).exists()


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


def with_content(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda tar, files: files.update({FIRST: change(files[FIRST])})


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
        (lambda tar, files: files.pop(FIRST), f"lacks {FIRST}"),
        (lambda tar, files: add(tar, f"copy/{FIRST}", files[FIRST]), f"{FIRST} must be one regular file"),
        (with_content(lambda content: content[:-1]), f"{FIRST} must have 5,000 bytes; received 4,999"),
        (with_content(lambda content: content + b"x"), f"{FIRST} must be one regular file of at most 5,000 bytes"),
        (with_content(lambda content: b"\x0a" + content[1:]), f"SHA-256 of {FIRST} must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unexpected_member_is_refused_by_name(folder: Path, tmp_path: Path, spoil: Spoil, says: str) -> None:
    files = dict(FILES)
    with tarfile.open(tmp_path / "spoiled.tar", "w") as tar:
        spoil(tar, files)
        for name, content in files.items():
            add(tar, name, content)
    with pytest.raises(SourceError) as caught:
        unpack(tmp_path / "spoiled.tar", folder, DIGESTS)
    assert says in str(caught.value)


def test_a_naive_extraction_would_have_written_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "spoiled.tar", "w") as tar:
        add(tar, f"../{FIRST}", b"x")
    (tmp_path / "inside").mkdir()
    with tarfile.open(tmp_path / "spoiled.tar") as tar:
        tar.extraction_filter = lambda member, _: member  # before 3.11.4, Python has no other way
        tar.extractall(tmp_path / "inside")
    assert (tmp_path / FIRST).exists()


def test_unknown_members_are_skipped(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        add(tar, "cifar/readme.html", b"<html>")
        add(tar, "cifar/link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        for name, content in FILES.items():
            add(tar, f"cifar/{name}", content)
    unpack(tmp_path / "more.tar", folder, DIGESTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


@pytest.mark.parametrize(
    "member",
    [
        pytest.param({"name": "readme.html"}, id="a member that is not needed"),
        pytest.param({"name": "pax", "type": tarfile.XHDTYPE}, id="a header that would fill the memory"),
    ],
)
def test_a_bomb_is_refused_beyond_the_data_sets_size(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: dict[str, object]
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**22)
    info = tarfile.TarInfo()
    for field, value in {**member, "size": 2**40}.items():
        setattr(info, field, value)
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**26))
    with pytest.raises(SourceError, match="must unpack to at most 4,194,304 bytes"):
        unpack(tmp_path / "bomb.tar.gz", folder, DIGESTS)


def flip(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage", [*(lambda content, n=n: content[:n] for n in (0, 1, 300, 20_000)), flip], ids=[0, 1, 300, 20_000, "flip"]
)
def test_a_truncated_or_damaged_archive_is_no_archive(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "damaged.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in FILES.items():
            add(tar, f"cifar/{name}", content)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=r"is not a readable archive|SHA-256|must be|lacks"):
        unpack(path, folder, DIGESTS)
