"""Every form of picture is read as a browser shows it, and nothing in a file raises anything but PictureError."""

import base64
import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from playwright.sync_api import Page, sync_playwright

from tasks.data import images
from tests.support.pictures import DEEP, FOLDER, PICTURES, SIDE, encoded, png, scene, swapped_profile

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
UNTURNED = {"turned_6.webp"}  # Chromium leaves a WebP's orientation to the page; photo viewers turn it
OVER_WHITE = ("transparency over white",)
NOTES = {
    "translucent.png": OVER_WHITE,
    "palette_translucent.png": OVER_WHITE,
    "small_frame.gif": OVER_WHITE,
    "rgba_green_hidden.png": OVER_WHITE,
    "key_16_bits.png": ("16 bits scaled to 8", *OVER_WHITE),
    "deep.png": ("16 bits scaled to 8",),
    "cmyk.jpg": ("converted from CMYK",),
    "animated.webp": ("the first of 3 frames",),
    "poster.png": ("the first of 2 frames",),
    "profile_translucent.png": ("colours of Swap built-in in sRGB", *OVER_WHITE),
    "broken_profile.png": (),
    "turned_6.jpg": (),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, args=["--force-color-profile=srgb"]
        )
        yield browser.new_page(device_scale_factor=1)
        browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: pictures in a browser, since Chromium is not installed")
@pytest.mark.parametrize("name", sorted(PICTURES.keys() - UNTURNED))
def test_pixels_are_those_that_a_browser_shows(page: Page, name: str) -> None:
    kind = {"jpg": "jpeg"}.get(name.rsplit(".")[-1], name.rsplit(".")[-1])
    source = f"data:image/{kind};base64,{base64.b64encode(PICTURES[name]).decode()}"
    page.set_content(f'<body style="margin: 0; background: white"><img style="display: block" src="{source}">')
    page.evaluate("document.images[0].decode()")
    with Image.open(io.BytesIO(page.locator("img").screenshot())) as screenshot:
        shown = np.asarray(screenshot.convert("RGB")).astype(int)
    pixels = images.read_picture(PICTURES[name]).pixels
    assert pixels.shape == shown.shape
    assert np.abs(pixels - shown).max() <= 1


@pytest.mark.parametrize("name", NOTES)
def test_what_was_changed_is_noted(name: str) -> None:
    assert images.read_picture(PICTURES[name]).notes == NOTES[name]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "QOI", "PPM", "TGA", "JPEG2000"])
def test_an_opaque_picture_is_unchanged_to_the_bit(form: str) -> None:
    settings = {"lossless": True} if form == "WEBP" else {}
    assert_same(images.read_picture(encoded(scene(), form, **settings)), scene())
    assert_same(images.read_picture(encoded(scene("RGBA"), "PNG")), scene())


def assert_same(picture: images.Picture, image: Image.Image) -> None:
    np.testing.assert_array_equal(picture.pixels, np.asarray(image))
    assert picture.notes == ()


def test_transparency_is_rounded_to_the_nearest_for_every_colour_and_alpha() -> None:
    colour, alpha = np.mgrid[0:256, 0:256]
    pixels = np.dstack([colour, colour, colour, alpha]).astype(np.uint8)
    found = images.read_picture(encoded(Image.fromarray(pixels), "PNG")).pixels
    np.testing.assert_array_equal(found[..., 0], (2 * (colour * alpha + 255 * (255 - alpha)) + 255) // 510)


def test_sixteen_bits_are_scaled_and_never_clipped() -> None:
    ramp = np.asarray(DEEP).astype(int) // 256
    for form in ("PNG", "TIFF", "PPM", "JPEG2000"):
        np.testing.assert_array_equal(images.read_picture(encoded(DEEP, form)).pixels[..., 1], ramp)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (16_383, 14), (16_384, 16)]
)
def test_values_that_fill_fewer_than_16_bits_are_scaled_to_those(form: str, largest: int, bits: int) -> None:
    values = np.linspace(0, largest, 64).astype(np.uint16).reshape(8, 8)
    picture = images.read_picture(encoded(Image.fromarray(values), form))
    np.testing.assert_array_equal(picture.pixels[..., 0], values >> (bits - 8))
    assert picture.notes == (f"16 bits{f', {bits} of them used,' if bits < 16 else ''} scaled to 8",)


def test_a_dark_picture_keeps_the_depth_that_its_file_names() -> None:
    pixels = images.read_picture(b"P5 2 1 4095\n" + bytes([0, 0, 1, 0])).pixels
    assert pixels[0, :, 0].tolist() == [0, 16]


@pytest.mark.parametrize("name", ["exif_datetime_as_rational.jpg", "exif_neg_rational_as_signed.jpg"])
def test_odd_exif_costs_nothing_and_its_orientation_counts(name: str) -> None:
    with (FOLDER / name).open("rb") as file:
        assert images.read_picture(file).pixels.shape == (40, 32, 3)  # it is 40 wide, and on its side


def test_no_damage_in_exif_costs_a_picture() -> None:
    content = PICTURES["turned_6.jpg"]
    start, rng = content.index(b"Exif"), np.random.default_rng(0)
    size = int.from_bytes(content[start - 2 : start], "big") - 2
    for _ in range(500):
        damaged = bytearray(content)
        for place in rng.integers(start, start + size, 3):
            damaged[place] = rng.integers(256)
        assert images.read_picture(bytes(damaged)).pixels.size == 3 * SIDE * 12


@pytest.mark.parametrize("form", ["TIFF", "AVIF"])
def test_an_orientation_that_the_decoder_knows_is_applied_once(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    settings = {"tiffinfo": {0x0112: 6}} if form == "TIFF" else {"exif": exif, "quality": 100, "subsampling": "4:4:4"}
    found = images.read_picture(encoded(scene().crop((0, 0, SIDE, 12)), form, **settings)).pixels
    np.testing.assert_allclose(found, np.rot90(np.asarray(scene())[:12], -1), atol=16)


@pytest.mark.parametrize("kind", ["a text", "a profile"])
def test_two_megabytes_beside_the_pixels_cost_no_picture(kind: str) -> None:
    beside = PngImagePlugin.PngInfo()
    beside.add_text("prompt", "word " * 400_000, zip=True)
    large: dict[str, dict[str, Any]] = {
        "a text": {"pnginfo": beside},
        "a profile": {"icc_profile": swapped_profile() + bytes(2**21)},
    }
    assert images.read_picture(encoded(scene(), "PNG", **large[kind])).pixels.shape == np.asarray(scene()).shape


def test_a_profile_of_other_channels_is_ignored() -> None:
    assert_same(
        images.read_picture(encoded(scene("L"), "PNG", icc_profile=swapped_profile())), scene("L").convert("RGB")
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(PICTURES["plain.png"][:60], "must be an image", id="cut in its header"),
        pytest.param(PICTURES["animated.webp"][:150], "must be an image", id="truncated WebP"),
        pytest.param(b"Pf\n1 1\n-1.0\n" + bytes(4), "8 or 16 bits a channel; received mode F", id="floats"),
        pytest.param(png(16, 2, [4095, 0, 7], [9, 9, 9]), "fill its 16 bits; received none above 4,095", id="dark RGB"),
        pytest.param(
            encoded(Image.new("1", (11_000, 10_000)), "PNG"),
            "must have at most 100,000,000 pixels; received 11,000 × 10,000",
            id="too large",
        ),
        pytest.param(encoded(Image.new("1", (20_000, 10_000)), "PNG"), "must have at most 100,000,000", id="a bomb"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_its_reason(content: bytes, says: str) -> None:
    with pytest.raises(images.PictureError, match=says) as caught:
        images.read_picture(content)
    assert len(str(caught.value).splitlines()) == 1


def test_a_picture_is_decoded_only_once_its_size_is_known_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", SIDE * SIDE - 1)
    with pytest.raises(images.PictureError, match="received 16 × 16"):
        images.read_picture(PICTURES["plain.png"][:60])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "ICO", "TIFF", "JPEG2000", "QOI", "TGA"])
def test_no_damage_raises_anything_else(form: str) -> None:
    content, rng = encoded(scene(), form), np.random.default_rng(0)
    for n in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        try:
            picture = images.read_picture(bytes(damaged[: rng.integers(1, len(damaged))] if n % 5 == 0 else damaged))
        except images.PictureError:
            continue
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.shape[2:] == (3,)


def test_a_picture_of_another_size_is_resized_with_a_note() -> None:
    picture = images.Picture(np.asarray(scene().crop((0, 0, SIDE, 12))), ("x",), (SIDE, 12))
    resized = images.resize_picture(picture, (8, 8), "stretch")
    assert resized.pixels.shape == (8, 8, 3)
    assert resized.notes == ("x", "resized from 16 × 12 (stretch)")
    assert images.resize_picture(resized, (8, 8), "crop") is resized
    assert images.resize_picture(picture, (6, 8), "crop").notes == ("x", "resized from 16 × 12")


def test_a_shape_is_reached_by_cropping_padding_or_stretching() -> None:
    pixels = np.full((12, 24, 3), 255, np.uint8)
    pixels[:, :6] = pixels[:, -6:] = 0  # black, white in the middle, black
    fitted = {
        how: images.resize_picture(images.Picture(pixels, (), (24, 12)), (12, 12), how).pixels
        for how in images.RESIZE_MODES
    }
    assert fitted["crop"].min() > 250
    assert (fitted["pad"][0] == images.GREY).all()
    assert fitted["pad"][6, 6].min() > 250
    assert (fitted["stretch"][6, [0, 6, 11], 0] > 128).tolist() == [False, True, False]


@pytest.mark.parametrize("size", [(1000, 8), (8, 1000), (640, 10), (90_000, 1), (1, 64)])
def test_padding_keeps_a_row_or_a_column_of_each_strip(size: tuple[int, int]) -> None:
    strip = np.tile(np.linspace(0, 255, max(size)).astype(np.uint8), (min(size), 1))[..., None].repeat(3, 2)
    pixels = strip if size[0] > size[1] else strip.transpose(1, 0, 2)
    padded = images.resize_picture(images.Picture(pixels, (), size), (32, 32), "pad").pixels
    ramp = padded.max(0) if size[0] > size[1] else padded.max(1)
    assert np.abs(ramp[16:, 0] - np.linspace(128, 255, 16)).max() < 8


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size() -> None:
    large = Image.effect_noise((40, 24), 40).resize((2000, 1200)).convert("RGB")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    scaled = images.read_picture(encoded(large, "JPEG", exif=turned), min_side=300)
    assert (scaled.pixels.shape, scaled.size) == ((500, 300, 3), (1200, 2000))
    whole = images.resize_picture(images.read_picture(encoded(large, "JPEG", exif=turned)), (300, 300), "crop")
    fitted = images.read_resized_picture(encoded(large, "JPEG", exif=turned), (300, 300), "crop")
    assert np.abs(fitted.pixels.astype(int) - whole.pixels).mean() < 2
    assert fitted.notes == whole.notes
