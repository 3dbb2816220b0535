"""Image files to RGB pixels, as a browser shows them on white.

Training and `classify` read pictures by this module alone. What is converted leaves a note. Damage in EXIF, a profile
or a PNG's other metadata is ignored; whatever else cannot be read whole raises PictureError.
Not done: a PNG's `gAMA` and `cICP` are not applied, and a 16 bit RGB picture is the high bytes of its samples, so
that its transparent colour takes colours along which differ from it in the low bytes alone.
"""

import io
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from tasks.data import formats

PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # bytes of a text or a profile: Pillow refuses pictures with larger ones
MAX_PIXELS = 100_000_000  # a picture that claims more is refused before it is decoded
# Those of browsers and cameras. Not Pillow's others: to read EPS, for one, runs a program on the file.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "ICO", "TIFF", "JPEG2000", "PPM", "QOI", "TGA")
SIXTEEN_BITS = re.compile(r";16[BLN]")  # in Pillow's name of a layout, such as RGB;16B; BGR;16 is 5, 6 and 5
DEPTHS = (8, 10, 12, 14, 16)  # bits of detectors, whose values are stored in 16
RULE = "must be an image, such as a PNG or JPEG file"
GREY = (128, 128, 128)
GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow scales samples of 2 and 4 bits to 0–255, and not the transparent one


class PictureError(ValueError):
    """A file that is no readable picture."""


class Picture(NamedTuple):
    """A picture that was read."""

    pixels: NDArray[np.uint8]  # of shape (height, width, 3)
    notes: tuple[str, ...]  # what was changed to get them
    size: tuple[int, int]  # width and height of the upright file


def read_resized_picture(source: bytes | IO[bytes], shape: tuple[int, int], resize_mode: str) -> Picture:
    """Read a picture, resized to (height, width) by one of `RESIZE_MODES`."""
    return resize_picture(read_picture(source, max(shape)), shape, resize_mode)


def read_picture(source: bytes | IO[bytes], min_side: int | None = None) -> Picture:
    """Read a picture from bytes or from an open file.

    With `min_side`, a JPEG may be decoded at a half, a quarter or an eighth of its size, which is as much faster, while
    no side becomes shorter than this many pixels.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damage is ignored or refused below
        head = stream.read(4096)
        try:
            if head.startswith(b"\x89PNG"):
                stream = io.BytesIO(formats.keep_shown_chunks(head + stream.read()))
            if fault := formats.find_tiff_fault(stream):
                raise PictureError(f"{RULE}: {fault}")
            with Image.open(stream, formats=FORMATS) as file:
                if file.width * file.height > MAX_PIXELS:
                    rule = f"must have at most {MAX_PIXELS:,} pixels"
                    raise PictureError(f"{rule}; received {file.width:,} × {file.height:,}")
                size = file.size
                if min_side:
                    file.draft(None, (min_side, min_side))
                return _convert(file, size)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise PictureError(f"must have at most {MAX_PIXELS:,} pixels; it claims more") from error
        except Exception as error:  # each of Pillow's decoders has its own
            system = error.strerror if isinstance(error, OSError) else None
            raise PictureError(f"{RULE}: {system or formats.explain(error, head, FORMATS)}") from error


def resize_picture(picture: Picture, shape: tuple[int, int], resize_mode: str) -> Picture:
    """Bring a picture to a shape, (height, width), unless it has it."""
    if picture.pixels.shape[:2] == shape:
        return picture
    resized = RESIZE_MODES[resize_mode](Image.fromarray(picture.pixels), shape[::-1], Image.Resampling.LANCZOS)
    width, height = picture.size
    mode = "" if width * shape[0] == height * shape[1] else f" ({resize_mode})"
    return Picture(np.asarray(resized), (*picture.notes, f"resized from {width} × {height}{mode}"), picture.size)


def _pad(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    if image.height * size[0] * 2 <= image.width:  # ImageOps would round the height to nothing
        image = image.resize((size[0], 1), resample)
    elif image.width * size[1] * 2 <= image.height:
        image = image.resize((1, size[1]), resample)
    return ImageOps.pad(image, size, resample, GREY)


# How a picture of another shape is brought to the shape of the arrays.
RESIZE_MODES: dict[str, Callable[..., Image.Image]] = {
    "crop": ImageOps.fit,  # the largest part in the middle that has the shape
    "pad": _pad,  # the whole picture, and grey beside it
    "stretch": Image.Image.resize,
}


def _convert(file: Any, size: tuple[int, int]) -> Picture:
    """Convert to pixels: upright, of 8 bits, in sRGB, over white."""
    if getattr(file, "default_image", False):
        file.seek(1)  # what stands before an animated PNG is for those who cannot animate
    layout = str(file.tile[0][3]) if file.tile else ""  # of the samples in the file; gone after `load`
    file.load()
    is_sideways = _turn_upright(file)
    alpha = _read_alpha(file, layout, file.dispose_extent if file.format == "GIF" else None)
    eight_bits, depth = _to_eight_bits(file, layout)
    opaque, notes = _to_srgb(eight_bits, file.info.get("icc_profile"))
    rgb = opaque.convert("RGB")
    if depth:
        notes.append(f"16 bits{f', {depth} of them used,' if depth < 16 else ''} scaled to 8")
    if file.mode == "CMYK":
        notes.append("converted from CMYK")
    if alpha and np.asarray(alpha).min() < 255:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("transparency over white")
    pixels = np.asarray(rgb)
    if (frames := _count_frames(file)) > 1:
        notes.append(f"the first of {frames} frames")
    return Picture(pixels, tuple(notes), size[::-1] if is_sideways else size)


def _turn_upright(file: Any) -> bool:
    """Turn upright; return whether the sides changed places."""
    orientation = None
    with suppress(Exception):  # EXIF is written by thousands of programs, and damaged by as many
        orientation = file.getexif().get(ExifTags.Base.Orientation)
        ImageOps.exif_transpose(file, in_place=True)
    return orientation in {5, 6, 7, 8}


def _count_frames(file: Any) -> int:
    with suppress(Exception):  # a later frame may be damaged
        return int(getattr(file, "n_frames", 1)) - bool(getattr(file, "default_image", False))
    return 1


def _read_alpha(image: Image.Image, layout: str, extent: tuple[int, int, int, int] | None) -> Image.Image | None:
    """Read the alpha of each pixel; None if the file has none."""
    # What a GIF's first frame does not fill of its canvas is transparent.
    if extent and extent != (0, 0, *image.size):
        alpha = Image.new("L", image.size)
        alpha.paste(image.convert("RGBA").getchannel("A").crop(extent), extent)
        return alpha
    if not image.has_transparency_data:
        return None
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
    if isinstance(key, int) and image.mode == "L":
        image.info["transparency"] = key * GREY_STEPS.get(layout, 1)
    elif isinstance(key, tuple) and SIXTEEN_BITS.search(layout):
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    return image.convert("RGBA").getchannel("A")


def _to_eight_bits(image: Image.Image, layout: str) -> tuple[Image.Image, int]:
    """Reduce to 8 bits, as profiles expect; return the former bits."""
    depth = 16 if SIXTEEN_BITS.search(layout) else 0
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow would clip, not scale
        values = np.asarray(image)
        is_scaled = image.format == "PPM" and not depth  # by the largest value that the file allows
        depth = 16 if is_scaled else next(bits for bits in DEPTHS if values.max() < 2**bits)
        return Image.fromarray((values >> (depth - 8)).astype(np.uint8)), depth
    if image.mode in {"I", "F"}:
        raise PictureError(f"must have 8 or 16 bits a channel; received mode {image.mode}")
    if image.mode == "CMYK":
        return image, depth
    eight_bits = image.convert("L" if image.mode in {"1", "L", "LA"} else "RGB")
    if depth and 0 < (largest := int(np.asarray(eight_bits).max())) < 16:
        raise PictureError(f"must fill its 16 bits; received none above {largest * 256 + 255:,}: scale its values")
    return eight_bits, depth


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """Convert colours to sRGB, which is what numbers without a profile mean."""
    if not profile:
        return image, []
    with suppress(Exception):  # a profile that is damaged, or of other channels, is ignored
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if not name.startswith("sRGB"):
            srgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if srgb is not None:
                return srgb, [f"colours of {name} in sRGB"]
    return image, []
