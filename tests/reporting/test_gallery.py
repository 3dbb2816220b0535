"""Pictures of a page are small, whole, and of the image's shape."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.metrics.types import Predicted
from tasks.reporting.gallery import Gallery


def gallery(height: int, width: int, n: int = 6) -> Gallery:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    labels = np.arange(n) % 2
    return Gallery(images, [f"{row}.png" for row in range(n)], Predicted(labels, np.eye(2)[labels]), ["a", "b"])


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
    made = gallery(*shape)
    picture = made.picture(3)
    kind, content = picture.source.split(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == stored
        assert kind == f"data:image/{(image.format or '').lower()}"
        if max(shape) <= 96:  # as it is, pixel by pixel
            np.testing.assert_array_equal(np.asarray(image), made.images[3])
    assert (picture.width, picture.height) == shown
    assert picture.is_enlarged == (max(shape) < 96)
    assert picture == made.picture(3)
    assert len(content) < 60_000


def test_examples_are_of_the_classes_that_are_asked_for() -> None:
    assert [shown.name for shown in gallery(8, 8).examples([1, 0])] == ["b", "a"]
    assert [shown.name for shown in gallery(8, 8, n=1).examples([0, 1])] == ["a"]  # b has no image
