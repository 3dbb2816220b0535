"""Pictures of a page are small, whole, and of the image's shape."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.reporting import gallery
from tests.support.reports import evaluation


@pytest.mark.parametrize(
    ("shape", "stored", "shown"),
    [
        ((32, 32), (32, 32), (96, 96)),
        ((20, 40), (40, 20), (96, 48)),
        ((96, 48), (48, 96), (48, 96)),
        ((224, 224), (192, 192), (96, 96)),
        ((500, 1000), (192, 96), (96, 48)),
        ((2, 1000), (192, 1), (96, 1)),
    ],
)
def test_a_picture_keeps_its_shape_and_is_stored_small(
    shape: tuple[int, int], stored: tuple[int, int], shown: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, *shape, 3), dtype=np.uint8)
    made = evaluation(n=6, images={"test": images})
    picture = gallery.picture(made, "test", 3)
    kind, content = picture.source.split(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == stored
        assert kind == f"data:image/{(image.format or '').lower()}"
        if max(shape) <= 96:  # as it is, pixel by pixel
            np.testing.assert_array_equal(np.asarray(image), images[3])
    assert (picture.width, picture.height) == shown
    assert picture.is_enlarged == (max(shape) < 96)
    assert picture == gallery.picture(made, "test", 3)
    assert len(content) < 60_000


def test_examples_are_of_the_classes_that_are_asked_for() -> None:
    made = evaluation(n=2, n_classes=3)
    assert [shown.name for shown in gallery.examples(made, [1, 0, 2])] == ["class 1", "class 0"]  # 2 has no image
