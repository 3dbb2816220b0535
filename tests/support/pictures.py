"""Small pictures in every form that people have them."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
SIDE = 16


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


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
    "broken_profile.png": encoded(scene(), "PNG", icc_profile=swapped_profile()[:200]),
    **{f"turned_{n}.jpg": turned("JPEG", n) for n in range(1, 9)},
    "turned_6.png": turned("PNG", 6),
    "turned_6.webp": turned("WEBP", 6),
    **{file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())},
}
