"""Kinds of files by their bytes, and what of them is shown."""

import re
import zlib
from typing import IO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

# What no decoder here reads, by the pattern at a file's start.
SIGNATURES = {
    "camera RAW; export it as JPEG": rb"II\*\0.{4}CR|.{4}ftypcrx|II(U\0|R[OS])|MMOR|FUJIFILMCCD-RAW|FOVb|\0MRM",
    "HEIC, a phone's format; export it as JPEG": rb".{4}ftyp(hei|hev|m[is]f1(?!.{0,60}avi[fs]))",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "SVG": rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!DOCTYPE svg)[^\0]*<svg)",
    "PDF, EPS or PostScript": rb"%PDF-|%!PS|\xc5\xd0\xd3\xc6",
    "Photoshop": rb"8BPS",
    "DICOM": rb".{128}DICM",
    "FITS, HDF5, NetCDF or NumPy": rb"SIMPLE  =|\x89HDF|CDF[\x01\x02\x05]|\x93NUMPY",
    "an empty file": rb"\Z",
    "a file of zeros": rb"\0+\Z",
    "a Git LFS pointer; `git lfs pull` gets the picture": rb"version https://git-lfs",
    "an HTML page, such as the error page of a download": rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)",
    "a video": rb".{4}(ftyp(?!.{0,60}avi[fs])|moov|mdat)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]",
    "an Office document": rb"\xd0\xcf\x11\xe0|PK\x03\x04.{26}(\[Content|_rels|docProps|word|xl|ppt|mimetype)",
    "an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|BZh\d|\x28\xb5\x2f\xfd|.{257}ustar",
    "text": rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z",
}
# Bits of a TIFF's samples that Pillow shows right, by photometric form: grey (0 and 1), RGB, palette, CMYK, YCbCr, Lab.
BITS = {0: {1, 2, 4, 8}, 1: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 5: {8, 16}, 6: {8}, 8: {8}}
# Chunks of a PNG that change what is shown: all that are not optional, and some others, if well begun.
SHOWN = re.compile(rb"[A-Z]|tRNS.|iCCP[^\0]{1,79}\0\0|eXIf|acTL.{8}|fcTL.{26}|fdAT.{4}", re.DOTALL)

TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own decoder mixes up planes of 16 bits, bits in reverse order, and YCbCr


def explain(error: Exception, head: bytes, readable: tuple[str, ...]) -> str:
    """Say what a file is that could not be read, and why."""
    for name, pattern in SIGNATURES.items():
        if re.match(pattern, head, re.DOTALL):
            return f"it is {name}"
    Image.init()
    prefix = head.ljust(16, b"\0")
    form = next((name for name in readable if (accept := Image.OPEN[name][1]) and accept(prefix)), None)
    if not isinstance(error, UnidentifiedImageError):
        return f"it is a damaged {form or 'image'} file: {str(error) or type(error).__name__}".splitlines()[0]
    return f"it is {f'a damaged or unusual {form}' if form else 'in none of the formats ' + ', '.join(readable)}"


def find_tiff_fault(stream: IO[bytes]) -> str:
    """Say why a TIFF cannot be shown right; "" otherwise."""
    stream.seek(0)
    if stream.read(4) not in TiffImagePlugin.PREFIXES:
        return ""
    tags = _read_tags(stream)
    parts = [tags, *(_read_tags(stream, place) for place in tags.get(330, ()))]  # SubIFDs
    is_sensor = any(part.get(262) in {32803, 34892} for part in parts)  # a colour filter array, and linear RAW
    if is_sensor or 50706 in tags or (tags.get(254, 0) & 1 and 271 in tags):  # or DNG, or a maker's thumbnail
        return f"it is camera RAW ({tags.get(271, 'DNG')} {tags.get(272, '')}); export it as JPEG"
    colours, bands, bits, kind = tags.get(262, 0), tags.get(277, 1), set(tags.get(258, (1,))), set(tags.get(339, (1,)))
    is_shown = (
        tags.get(259, 1) in TiffImagePlugin.COMPRESSION_INFO
        and (kind == {1} and bits <= BITS.get(colours, set()))
        and (bands == 1 or colours not in {0, 1, 3} or (colours, bits, tags.get(338)) == (1, {8}, (2,)))  # the alpha
        and not (colours == 8 and tags.get(284) == 2)  # planes of Lab
        and max(tags.get(320, (256,))) >= 256  # a palette of 8 bits, in the place for 16, would be black
    )
    kinds = f"{max(bits)} bits (photometric form {colours}, sample format {max(kind)}, compression {tags.get(259, 1)})"
    return "" if is_shown else f"it is a TIFF of {bands} band{'s' * (bands > 1)} of {kinds}; save it as PNG or JPEG"


def _read_tags(stream: IO[bytes], place: int | None = None) -> TiffImagePlugin.ImageFileDirectory_v2:
    stream.seek(0)
    head = stream.read(16)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head if head[2:3] == b"+" else head[:8])  # the former of a BigTIFF
    stream.seek(tags.next if place is None else place)
    tags.load(stream)
    return tags


def keep_shown_chunks(png: bytes) -> bytes:
    """Drop a PNG's damaged and hidden chunks; end it at damaged pixels."""
    kept, start = [png[:8]], 8
    while start + 8 <= len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4])
        content = png[start + 4 : end - 4]  # with its name
        if zlib.crc32(content) == int.from_bytes(png[end - 4 : end]) and SHOWN.match(content):
            kept.append(png[start:end])
        elif content[:1].isupper():
            kept.append(png[start : start + 8])
            break
        start = end
    return b"".join(kept)
