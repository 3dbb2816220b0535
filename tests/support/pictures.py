"""Small pictures in every form that people have them."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
SIDE = 16


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (20, 16)) -> bytes:
    """A PNG of 20 coloured patches, others for each seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return encoded(Image.fromarray(patches).resize(size), "PNG")


def scene(mode: str = "RGB") -> Image.Image:
    """A corner of each colour, and a ramp: no two of its mirror images and rotations are alike."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:8, :8], pixels[:8, 8:], pixels[8:, :8] = (230, 30, 20), (20, 200, 40), (30, 40, 220)
    pixels[8:, 8:] = np.arange(0, 256, 32)[:, None]
    return Image.fromarray(pixels).convert(mode)


def translucent() -> Image.Image:
    """The scene, ever less opaque from left to right."""
    image = scene("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(255, 0, SIDE).astype(np.uint8), (SIDE, 1))))
    return image


def palette(transparent: int | bytes | None = None) -> Image.Image:
    image = scene().quantize(16)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(kind: bytes, content: bytes, place: int = 33, is_whole: bool = True) -> bytes:
    """The scene with another chunk behind its header, or at another place."""
    png, added = encoded(scene(), "PNG"), chunk(kind, content)
    return png[:place] + (added if is_whole else added[:-4] + b"fake") + png[place:]


def png(depth: int, colours: int, samples: Sequence[int], transparent: Sequence[int]) -> bytes:
    """A row of pixels in a form that Pillow does not write; `colours` is 0 for grey, 2 for RGB."""
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    width = len(samples) // (3 if colours else 1)
    row = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(samples: NDArray[Any], form: int, bits: int, more: Mapping[int, Any] = {}, **how: Any) -> bytes:
    """A TIFF that Pillow does not write, of samples of shape (height, width, bands) and tags `more`."""
    order, planar, fill = how.get("order", "<"), how.get("planar", 1), how.get("fill", 1)
    height, width, bands = samples.shape
    planes = [samples[..., band] for band in range(bands)] if planar == 2 else [samples.reshape(height, -1)]
    if bits >= 16:
        strips = [plane.astype(f"{order}{samples.dtype.kind}{bits // 8}").tobytes() for plane in planes]
    else:
        ones = [plane.astype(np.uint16)[..., None] >> np.arange(bits)[::-1] & 1 for plane in planes]
        rows = [np.packbits(one.reshape(height, -1), 1, "big" if fill == 1 else "little") for one in ones]
        strips = [row.tobytes() for row in rows]
    starts = [sum(map(len, strips[:n])) for n in range(len(strips))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    for tag, values in {
        **{256: width, 257: height, 258: [bits] * bands, 259: 1, 262: form, 266: fill, 273: starts},
        **{277: bands, 278: height, 279: [len(strip) for strip in strips], 284: planar, **more},
    }.items():
        tags[tag] = values
    return head + tags.tobytes(8) + b"".join(strips)


def small_frame() -> bytes:
    """A GIF whose first frame leaves the right and the lower half of its canvas free."""
    image = Image.new("P", (SIDE // 2, SIDE // 2), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    content = bytearray(encoded(image, "GIF"))
    content[6:10] = struct.pack("<HH", SIDE, SIDE)
    return bytes(content)


def swapped_profile() -> bytes:
    """A profile of a space in which red is blue and blue is red, as sRGB sees it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "Swap".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def turned(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(scene().crop((0, 0, SIDE, 12)), form, exif=exif, **({} if form == "JPEG" else {"lossless": True}))


FRAMES = [scene(), Image.new("RGB", (SIDE, SIDE), "green"), Image.new("RGB", (SIDE, SIDE), "blue")]
ANIMATED = {"save_all": True, "append_images": FRAMES[1:], "duration": 60_000}  # ms, for who looks at the first
DEEP = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 257)
PICTURES = {
    "plain.png": encoded(scene(), "PNG"),
    "plain.webp": encoded(scene(), "WEBP", lossless=True),
    "plain.bmp": encoded(scene(), "BMP"),
    "plain.jpg": encoded(scene(), "JPEG", quality=98, subsampling=0),
    "grey.png": encoded(scene("L"), "PNG"),
    "one_bit.png": encoded(scene("1"), "PNG"),
    "palette.png": encoded(palette(), "PNG"),
    "translucent.png": encoded(translucent(), "PNG"),
    "translucent.webp": encoded(translucent(), "WEBP", lossless=True, exact=True),
    "translucent_grey.png": encoded(translucent().convert("LA"), "PNG"),
    "palette_one_clear.png": encoded(palette(3), "PNG"),
    "palette_translucent.png": encoded(palette(bytes(range(0, 256, 16))), "PNG"),
    "clear.gif": encoded(palette(3), "GIF", transparency=3),
    "small_frame.gif": small_frame(),
    "key_1_bit.png": png(1, 0, [0, 1, 1, 0, 1, 0, 0, 1], [0]),
    "key_2_bits.png": png(2, 0, [0, 1, 2, 3], [1]),
    "key_4_bits.png": png(4, 0, [0, 5, 10, 15], [5]),
    "key_8_bits.png": png(8, 0, [0, 5, 10, 15], [5]),
    "key_16_bits.png": png(16, 0, [300, 301, 40_000, 65_535], [300]),
    "key_rgb.png": png(8, 2, [1, 2, 3, 4, 5, 6, 1, 2, 4], [1, 2, 3]),
    "key_rgb_16_bits.png": png(16, 2, [30_000, 400, 500, 31_000, 400, 500], [30_000, 400, 500]),
    "deep.png": encoded(DEEP, "PNG"),
    "cmyk.jpg": encoded(scene("CMYK"), "JPEG", quality=98, subsampling=0),
    "animated.gif": encoded(FRAMES[0], "GIF", **ANIMATED),
    "animated.webp": encoded(FRAMES[0], "WEBP", lossless=True, **ANIMATED),
    "animated.png": encoded(FRAMES[0], "PNG", **ANIMATED),
    "poster.png": encoded(FRAMES[1], "PNG", **{**ANIMATED, "default_image": True, "append_images": FRAMES[::2]}),
    "profile.png": encoded(scene(), "PNG", icc_profile=swapped_profile()),
    "profile_translucent.png": encoded(translucent(), "PNG", icc_profile=swapped_profile()),
    "text_of_another_sum.png": with_chunk(b"tEXt", b"Comment\0station 4", is_whole=False),
    "exif_of_another_sum.png": with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6", is_whole=False),
    "key_of_another_sum.png": with_chunk(b"tRNS", bytes([0, 230, 0, 30, 0, 20]), is_whole=False),
    "text_compressed_otherwise.png": with_chunk(b"zTXt", b"Comment\0\7abc"),
    "text_behind_compressed_otherwise.png": with_chunk(b"zTXt", b"Comment\0\7abc", -12),
    "profile_compressed_otherwise.png": with_chunk(b"iCCP", b"name\0\7abc"),
    "size_cut.png": with_chunk(b"pHYs", b"\0"),
    "garbage_behind.png": encoded(scene(), "PNG") + b"garbage",
    "broken_profile.png": encoded(scene(), "PNG", icc_profile=swapped_profile()[:200]),
    **{f"turned_{n}.jpg": turned("JPEG", n) for n in range(1, 9)},
    "turned_6.png": turned("PNG", 6),
    "turned_6.webp": turned("WEBP", 6),
    **{file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())},
}
