"""Every kind of file that people have among their pictures is read as it is shown, or refused as what it is."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tasks.data import images
from tests.support.pictures import PICTURES, encoded, scene, tiff

BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3, 32844: 1, 32845: 3}
READ = {0: [1, 2, 4, 8], 1: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 5: [8, 16], 6: [8], 8: [8]}
Samples = NDArray[np.float64]
# What viewers show of samples from 0 to 1, by photometric form; the palette is apart.
SHOWN: dict[int, Callable[[Samples], Samples]] = {
    0: lambda x: 1 - x,
    1: lambda x: x,
    2: lambda x: x,
    5: lambda x: (1 - x[..., :3]) * (1 - x[..., 3:]),
    6: lambda x: x[..., :1] + (x[..., 1:] - 128 / 255) @ [[0, -0.344, 1.772], [1.402, -0.714, 0]],
    8: lambda x: show_lab((x * 255).round().astype(np.uint8)) / 255,
}


def show_lab(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    lightness, *colours = (Image.fromarray(samples[..., band]) for band in range(3))
    signed = [colour.point(lambda value: value ^ 128) for colour in colours]  # in TIFF; Pillow counts from 128
    return np.asarray(Image.merge("LAB", [lightness, *signed]).convert("RGB"))


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


def refusal(content: bytes) -> str:
    with pytest.raises(images.PictureError) as caught:
        images.read_picture(content)
    return str(caught.value)


def samples_of(form: int, bits: int) -> NDArray[np.uint32]:
    samples = np.random.default_rng(0).integers(0, 2**bits, (8, 8, BANDS[form])).astype(np.uint32)
    samples[0, 0] = 2**bits - 1
    return samples


@pytest.mark.parametrize(("form", "bits"), [(form, bits) for form, depths in READ.items() for bits in depths])
def test_a_tiff_is_shown_as_viewers_show_it(form: int, bits: int) -> None:
    samples = samples_of(form, bits)
    palette = np.random.default_rng(1).integers(0, 65_536, (3, 2 ** min(bits, 8)))
    if form == 3:
        expected = palette[:, samples[..., 0]].transpose(1, 2, 0) / 257
    else:
        expected = 255 * SHOWN[form](samples / (2**bits - 1)).clip(0, 1)
    more: dict[int, Any] = {3: {320: palette.ravel().tolist()}, 6: {530: [1, 1]}}.get(form, {})
    for order, planar, fill in product("<>", [1, 2], [1, 2]):
        if (planar == 1 or form in {2, 5, 6}) and (fill == 1 or bits < 8 or form < 3):
            content = tiff(samples, form, bits, more, order=order, planar=planar, fill=fill if bits <= 8 else 1)
            assert np.abs(images.read_picture(content).pixels - expected).max() < 2


@pytest.mark.parametrize(
    ("form", "bits"),
    [(form, bits) for form in BANDS for bits in (1, 2, 4, 8, 12, 16, 32) if bits not in READ.get(form, [])],
)
def test_a_tiff_that_would_be_shown_wrongly_is_refused_by_its_form(form: int, bits: int) -> None:
    for order, planar in product("<>", [1, 2]):
        says = refusal(tiff(samples_of(form, bits), form, bits, order=order, planar=planar))
        assert f"it is a TIFF of {BANDS[form]} band" in says
        assert f" of {bits} bits (photometric form {form}" in says


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (tiff(np.zeros((4, 4, 13), int), 1, 16, {338: [0] * 12}), "TIFF of 13 bands of 16 bits"),
        (tiff(np.zeros((4, 4, 13), int), 1, 16, {338: [0] * 12}, planar=2), "TIFF of 13 bands of 16 bits"),
        (tiff(np.zeros((4, 4, 2), int), 1, 8, {338: [0]}), "TIFF of 2 bands of 8 bits"),
        (tiff(np.zeros((4, 4, 1), int), 1, 8, {339: [2]}), "8 bits (photometric form 1, sample format 2"),
        (tiff(np.zeros((4, 4, 1)), 1, 32, {339: [3]}), "32 bits (photometric form 1, sample format 3"),
        (tiff(np.zeros((4, 4, 3), int), 8, 8, planar=2), "TIFF of 3 bands of 8 bits (photometric form 8"),
        (tiff(np.zeros((4, 4, 1), int), 3, 8, {320: [9] * 768}), "TIFF of 1 band of 8 bits (photometric form 3"),
        (tiff(np.zeros((4, 4, 3), int), 2, 8, {259: 50_002}), "compression 50002"),
    ],
)
def test_a_tiff_of_an_odd_kind_is_refused_by_its_kind(content: bytes, says: str) -> None:
    assert says in refusal(content)


@pytest.mark.parametrize("more", [{254: 1, 271: "NIKON"}, {50706: b"\1\4\0\0"}, {262: 32803}, {262: 34892}, {330: [0]}])
def test_camera_raw_is_refused_though_it_holds_a_thumbnail(more: dict[int, Any]) -> None:
    thumbnail = np.zeros((8, 8, 3), int)
    if 330 in more:  # a SubIFD of the sensor, behind the file
        more = {330: [len(tiff(thumbnail, 2, 8, more))]}
    sensor = struct.pack("<HHHII", 1, 262, 3, 1, 32803) + bytes(4)
    assert "it is camera RAW (" in refusal(tiff(thumbnail, 2, 8, more) + sensor)


KINDS = {
    "camera RAW": [b"II*\0\x10\0\0\0CR\2\0", b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"\0\0\0\x18ftypcrx "],
    "HEIC": [b"\0\0\0\x24ftypheic" + bytes(99), b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"],
    "a damaged AVIF file": [encoded(scene(), "AVIF")[:-40]],
    "JPEG XL": [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "SVG": [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<?xml version='1.0'?>\n<!-- x -->\n<svg/>"],
    "PDF, EPS or PostScript": [encoded(scene(), "PDF"), encoded(scene(), "EPS"), b"\xc5\xd0\xd3\xc6\x20\0\0\0"],
    "Photoshop": [b"8BPS\0\1"],
    "DICOM": [bytes(128) + b"DICM\2\0"],
    "FITS, HDF5, NetCDF or NumPy": [b"SIMPLE  =       T", b"\x89HDF\r\n\x1a\n", b"CDF\1", b"\x93NUMPY\1\0"],
    "an empty file": [b""],
    "a file of zeros": [bytes(5000)],
    "`git lfs pull`": [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"],
    "an HTML page": [b"\n<!DOCTYPE html><html><svg>404", b"\xef\xbb\xbf<HTML>"],
    "a video": [b"\0\0\0\x20ftypisom", b"\0\0\0\x14ftypqt  ", b"\x1a\x45\xdf\xa3webm", b"RIFF\0\0\0\0AVI LIST"],
    "an Office document": [zipped("[Content_Types].xml"), zipped("word/document.xml"), b"\xd0\xcf\x11\xe0\xa1\xb1"],
    "an archive": [zipped("a.png"), gzip.compress(b"x"), b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7"],
    "text": [b"text " * 100, json.dumps({"error": 404}).encode(), "naïve".encode()],
    "a damaged PNG file": [PICTURES["plain.png"][:-40]],
    "a damaged or unusual PNG": [b"\x89PNG\r\n\x1a\n" + bytes(9)],
    "a damaged JPEG file": [PICTURES["plain.jpg"][:-40]],
    "a damaged or unusual TIFF": [b"II*\0" + bytes(9)],
    "in none of the formats PNG, JPEG": [bytes(range(1, 200))],
}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param(kind, content, id=f"{kind} {number}")
        for kind, contents in KINDS.items()
        for number, content in enumerate(contents)
    ],
)
def test_a_refusal_says_what_the_file_is(kind: str, content: bytes) -> None:
    says = refusal(content)
    assert says.startswith("must be an image, such as a PNG or JPEG file: it is ")
    assert kind in says
    assert "\n" not in says


def test_no_flipped_bit_in_the_pixels_of_a_png_is_read() -> None:
    png, rng = encoded(scene().resize((64, 64)), "PNG"), np.random.default_rng(0)
    for place in rng.integers(png.index(b"IDAT") + 4, png.index(b"IEND") - 4, 200):
        damaged = bytearray(png)
        damaged[place] ^= 1 << rng.integers(8)
        assert "a damaged PNG" in refusal(bytes(damaged))
