"""Archives of own images: the same as their folder, and those that escape, explode or deceive are refused."""

import gzip
import io
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.datasets.packed import Packed
from tasks.download import download
from tasks.layouts import archived, rules
from tests.layouts.conftest import Refused
from tests.support.own_images import FLOWERS, GIVEN, photo, write_files, write_tar, write_zip

Write = Callable[[Path, dict[str, bytes]], Path]
NAMES = [("a.zip", write_zip), ("a.tar", write_tar), ("a.tar.gz", write_tar), ("A.TGZ", write_tar)]


@pytest.mark.parametrize(("name", "write"), NAMES)
@pytest.mark.parametrize("inside", ["", "./", "flowers/"])
@pytest.mark.parametrize("files", [FLOWERS, GIVEN], ids=["classes", "splits"])
def test_an_archive_gives_the_bytes_of_its_folder(
    tmp_path: Path, name: str, write: Write, inside: str, files: dict[str, bytes]
) -> None:
    download(images=write_files(tmp_path / "flowers", files), raw=tmp_path / "of the folder")
    left = {f"__MACOSX/{inside}rose/._0.png": b"x", f"{inside}.DS_Store": b"x"}
    path = write(tmp_path / name, {f"{inside}{path}": content for path, content in files.items()} | left)
    download(images=path, raw=tmp_path / "of the archive")
    assert contents(tmp_path / "of the archive") == contents(tmp_path / "of the folder")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("name", "write"), NAMES)
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"../../rose/9.png": b"x"}, "must stay inside the folder, .*; received ../../rose/9.png"),
        ({"/tmp/rose/9.png": b"x"}, "must stay inside the folder, .*; received /tmp/rose/9.png"),
        ({"rose\\9.png": b"x"}, r"written with / and no \\; received rose\\9.png"),
        ({"./rose/0.png": b"x"}, "must hold a file once; received rose/0.png"),
        ({"9.png": b"x"}, "none beside these; received 9.png"),
        ({f"{'x' * 300}/{n}.png": b"x" for n in range(2)}, "a label must be a name of at most 255 bytes"),
    ],
)
def test_a_member_that_would_do_harm_is_refused_by_name(
    tmp_path: Path, refused: Refused, name: str, write: Write, files: dict[str, bytes], says: str
) -> None:
    line = refused(write(tmp_path / name, FLOWERS | files))
    assert re.search(says, line), line


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, refused: Refused, kind: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", FLOWERS)
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("rose/9.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    assert refused(path) == f"{path}: must hold regular files, and no links, pipes or devices; received rose/9.png"


def test_links_in_a_zip_are_refused(tmp_path: Path, refused: Refused) -> None:
    path = write_zip(tmp_path / "a.zip", FLOWERS)
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("rose/9.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    assert refused(path) == f"{path}: must hold regular files, and no links, pipes or devices; received rose/9.png"


def test_an_encrypted_zip_is_refused(tmp_path: Path, refused: Refused) -> None:
    path = write_zip(tmp_path / "a.zip", FLOWERS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the first member in the directory
    path.write_bytes(content)
    assert refused(path) == f"{path}: must not be encrypted; received rose/0.png"


@pytest.mark.parametrize(("name", "write"), NAMES[:3])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, name: str, write: Write
) -> None:
    zeros = FLOWERS | {f"rose/zeros {n}.bmp": bytes(2**20) for n in range(8)}
    path = write(tmp_path / name, zeros)
    monkeypatch.setattr(archived, "MAX_UNPACKED_BYTES", 2**20)
    monkeypatch.setattr(archived, "MAX_RATIO", 0)
    assert "must unpack to at most 1,048,576 bytes" in refused(path)


@pytest.mark.parametrize(("name", "write"), NAMES[:3])
def test_a_member_larger_than_an_image_is_refused(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, name: str, write: Write
) -> None:
    monkeypatch.setattr(rules, "MAX_FILE_BYTES", 2**20)
    path = write(tmp_path / name, FLOWERS | {"rose/zeros.bmp": bytes(2**20 + 1)})
    assert refused(path) == f"{path}: a file must have at most 1,048,576 bytes; received rose/zeros.bmp"


def test_a_zip_that_hides_its_size_is_not_unpacked_beyond_what_it_states(tmp_path: Path, refused: Refused) -> None:
    path = write_zip(tmp_path / "a.zip", {"rose/zeros.bmp": bytes(2**24)} | FLOWERS)
    content = bytearray(path.read_bytes())
    for start in (22, content.index(b"PK\x01\x02") + 24):  # in the member's own header, and in the directory
        assert content[start : start + 4] == struct.pack("<I", 2**24)
        content[start : start + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}: a.zip is not a readable archive: Bad CRC-32")


@pytest.mark.parametrize(("name", "write"), NAMES[:3])
@pytest.mark.parametrize("damage", ["empty", "half", "a page", "flipped"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, refused: Refused, name: str, write: Write, damage: str) -> None:
    path = write(tmp_path / name, FLOWERS | {"rose/noise.png": os.urandom(20_000)})
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        if name == "a.tar":
            pytest.skip("a plain tar has no checksum of contents")
        content[len(content) // 2] ^= 0xFF
    others = {"empty": b"", "half": bytes(content[: len(content) // 2]), "a page": b"<html>" * 99}
    path.write_bytes(others.get(damage, bytes(content)))
    line = refused(path)
    assert re.search(r"is not a readable archive|received none", line), line


def test_a_tar_that_was_cut_between_two_members_is_refused(tmp_path: Path, refused: Refused) -> None:
    path = write_tar(tmp_path / "a.tar", FLOWERS)
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].offset
    os.truncate(path, last)
    assert refused(path) == f"{path}: must end as a tar archive does; its last members are missing"


@pytest.mark.parametrize(("name", "write"), NAMES[:3])
def test_of_joined_archives_no_part_is_lost(tmp_path: Path, refused: Refused, name: str, write: Write) -> None:
    one = write(tmp_path / f"one {name}", FLOWERS)
    path = write(tmp_path / name, GIVEN)
    path.write_bytes(one.read_bytes() + path.read_bytes())
    assert re.search("must hold nothing before its first file|a second archive at byte", refused(path))


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
@pytest.mark.parametrize(
    "field", [0, 100, 124, 148, 156, 257, 400], ids=["name", "mode", "size", "sum", "kind", "magic", "rest"]
)
def test_no_image_behind_what_ends_a_tar_for_its_reader_is_lost(
    tmp_path: Path, refused: Refused, name: str, field: int
) -> None:
    """Python's tarfile stops without a word at a header whose checksum is wrong."""
    plain = write_tar(tmp_path / "plain.tar", FLOWERS)
    with tarfile.open(plain) as tar:
        start = tar.getmembers()[6].offset
    content = bytearray(plain.read_bytes())
    content[start + field] ^= 1
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name == "a.tgz" else content)
    assert refused(path) == f"{path}: has a damaged header or a second archive at byte {start:,}, and files behind it"


@pytest.mark.parametrize("padding", [0, 512, 10_000])
def test_a_tar_may_be_padded_with_zeros(tmp_path: Path, padding: int) -> None:
    path = write_tar(tmp_path / "a.tar", FLOWERS)
    path.write_bytes(path.read_bytes() + bytes(padding))
    assert download(images=path, raw=tmp_path / "raw")["images"] == 12


def zip_of_bytes(path: Path, names: list[bytes], system: int = 3) -> Path:
    """A zip whose names have these bytes, and no flag that says what they mean."""
    with zipfile.ZipFile(path, "w") as archive:
        for n, name in enumerate(names):
            member = zipfile.ZipInfo(f"{n:x}" * len(name))
            member.create_system = system
            archive.writestr(member, photo(n))
    content = path.read_bytes()
    for n, name in enumerate(names):
        content = content.replace(f"{n:x}".encode() * len(name), name)
    path.write_bytes(content)
    return path


CAFES = ["café au lait/1.png", "café au lait/2.png", "café noir/3.png", "café noir/4.png"]


def test_names_of_a_zip_are_utf_8_also_where_no_flag_says_so(tmp_path: Path) -> None:
    """As macOS writes them, é as two characters, and with the separators of Windows's PowerShell."""
    files = [unicodedata.normalize("NFD", name) for name in CAFES]
    names = [name.replace("/", "\\").encode() for name in files]
    download(images=zip_of_bytes(tmp_path / "a.zip", names, system=0), raw=tmp_path / "raw")
    assert sorted(Packed(tmp_path / "raw").files) == files
    assert Packed(tmp_path / "raw").classes == ["café au lait", "café noir"]


@pytest.mark.parametrize("encoding", ["cp437", "cp850", "latin-1", "cp1252"])
def test_names_in_another_encoding_are_refused_and_never_become_labels(
    tmp_path: Path, refused: Refused, encoding: str
) -> None:
    names = [name.encode(encoding) for name in CAFES]
    line = refused(zip_of_bytes(tmp_path / "a.zip", names))
    assert line.endswith(f"a.zip: its names must be UTF-8; received {names[0]!r}; unpack it, and link that")
    with tarfile.open(tmp_path / "a.tar", "w", encoding=encoding, format=tarfile.GNU_FORMAT) as tar:
        for name in CAFES:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert "a path must be UTF-8 without line breaks" in refused(tmp_path / "a.tar")


def test_an_archive_is_read_without_a_file_beside_data_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment: a disk has room for the packed images once, and not for the unpacked ones as well."""
    opened: list[str] = []
    write_bytes = io.open
    path = write_tar(tmp_path / "a.tgz", FLOWERS | {"rose/9.png": photo(99)})

    def note(file: object, mode: str = "r", *others: object, **named: object) -> object:
        if "r" not in mode or "+" in mode:
            opened.append(str(file))
        return write_bytes(file, mode, *others, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", note)
    download(images=path, raw=tmp_path / "raw")
    assert opened
    assert all(Path(file).parent == tmp_path / ".part-raw" for file in opened)
