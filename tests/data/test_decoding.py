"""Decoding: each picture once, kept by its content; what is kept never changes a pixel."""

import os
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.data import decoding
from tasks.datasets import packed
from tasks.datasets.packed import Example, Packed, write_packed
from tasks.run import kept
from tests.support.damage import flip_a_byte
from tests.support.pictures import noise

SIDE, N = 8, 30


def dataset(name: str, contents: list[bytes]) -> Packed:
    Path(name).mkdir()
    write_packed(Path(name), ((Example(f"ant/{n}.png", "ant"), content) for n, content in enumerate(contents)))
    return Packed(Path(name))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.data.decoding.joblib.cpu_count", lambda: 1)
    monkeypatch.setattr(packed.Packed, "rows_at_once", 4)
    monkeypatch.setattr(decoding, "KEPT_TOGETHER", 10 * SIDE * SIDE * 3)


@pytest.fixture
def ants() -> Packed:
    return dataset("ants", [noise(n) for n in range(N)])


def decode(data: Packed, size: int = SIDE, mode: str = "crop", path: str = "decoded") -> tuple[bytes, list[object]]:
    decoded = decoding.decode_images(data, Path(path), (size, size), mode)
    content = Path(path).read_bytes()
    Path(path).unlink()
    return content, list(decoded)


def kept_files() -> list[Path]:
    return sorted(kept.FOLDER.glob("pictures-*/*.npz"))


@pytest.mark.parametrize(
    ("size", "mode", "says"),
    [(SIDE, "crop", "30 of 30 kept"), (SIDE, "pad", "0 of 30 kept"), (12, "crop", "0 of 30 kept")],
)
def test_a_second_time_nothing_is_decoded_and_other_settings_are_another_picture(
    ants: Packed, size: int, mode: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    without = decode(ants, size, mode)
    for file in kept_files():
        file.unlink()
    decode(ants)
    capsys.readouterr()
    assert decode(ants, size, mode) == without
    assert f"pictures: {says} from before" in capsys.readouterr().out


def test_only_new_pictures_are_decoded_and_unreadable_ones_are_never_kept(
    ants: Packed, capsys: pytest.CaptureFixture[str]
) -> None:
    more = dataset("more", [*(noise(n) for n in range(N)), noise(3), noise(99), b"no image"])
    without = decode(more)
    for file in kept_files():
        file.unlink()
    decode(ants)
    for says in ("31 of 33 kept from before, 2 decoded", "32 of 33 kept from before, 1 decoded"):  # two files are equal
        capsys.readouterr()
        assert decode(more) == without
        assert says in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "of other pixels"])
def test_a_damaged_file_changes_no_pixel(ants: Packed, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = decode(ants)
    file = kept_files()[0]
    if damage == "flipped":
        flip_a_byte(file)
    elif damage == "of other pixels":
        with np.load(file) as saved:
            arrays = dict(saved)
        np.savez(file, **(arrays | {"pixels": arrays["pixels"] ^ 1}))
    else:
        file.write_bytes(file.read_bytes()[: 200 if damage == "cut" else 0])
    capsys.readouterr()
    assert decode(ants) == expected
    assert f"{file} is damaged and removed: " in capsys.readouterr().out
    decode(ants)
    assert "30 of 30 kept" in capsys.readouterr().out


def test_four_at_once_read_and_write_the_same_pictures(ants: Packed) -> None:
    expected = decode(ants, path="alone")
    kept_files()[1].unlink()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: decode(ants, path=f"decoded-{n}"), range(12))) == [expected] * 12
    for file in kept_files():
        kept.load_kept(file)
    assert not list(kept.FOLDER.rglob(".part-*"))


def test_what_cannot_be_kept_is_one_line(
    ants: Packed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = decode(ants)
    kept.FOLDER.rename("aside")
    kept.FOLDER.write_text("in the way")
    capsys.readouterr()
    assert decode(ants) == expected
    assert capsys.readouterr().out.count("could not be kept: ") == 1
    kept.FOLDER.unlink()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(4 * N * SIDE * SIDE * 3))
    assert decode(ants) == expected
    assert "pictures: not kept, because the disk has less than " in capsys.readouterr().out
    assert not kept.FOLDER.exists()


def test_beyond_the_bound_what_was_unused_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: np.full((1, 1000), n, np.uint8) for n, name in enumerate(("old", "used", "new"))}
    for time, name in enumerate(("used", "old")):
        kept.keep(kept.FOLDER / name, [name.encode()], values=rows[name])
        os.utime(next((kept.FOLDER / name).glob("*.npz")), (time, time))
    assert list(kept.read_kept(kept.FOLDER / "used", [b"used"]))
    monkeypatch.setattr(kept, "MAX_BYTES", 4_000)
    kept.keep(kept.FOLDER / "new", [b"new"], values=rows["new"])
    assert {file.parent.name for file in kept.FOLDER.glob("*/*.npz")} == {"used", "new"}


@pytest.mark.parametrize(
    ("side", "size", "shape"),
    [(64, None, (64, 64)), (512, None, (512, 512)), (513, None, None), (900, None, None), (900, 96, (96, 96))],
)
def test_photographs_as_they_are_are_refused_before_they_are_decoded(
    side: int, size: int | None, shape: tuple[int, int] | None
) -> None:
    data = dataset("large", [noise(1, (side, side))] * 3)
    if shape:
        assert decoding.choose_shape(data, size) == shape
        return
    says = (
        rf"normalize.size must be set for .* 512 pixels .* {side} × {side}: 3 such images make \d+ MB of arrays from "
    )
    with pytest.raises(ValueError, match=says):
        decoding.choose_shape(data, size)


def test_large_arrays_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    data = dataset("many", [noise(1, (1024, 768))] * 400)
    decoding.choose_shape(data, 1024)
    assert "400 images of 1024 × 1024 make 1,258 MB of arrays from" in capsys.readouterr().out
    decoding.choose_shape(data, 512)
    assert not capsys.readouterr().out
