import io

import numpy as np
import pytest
from PIL import Image

from tasks.core import figures


@pytest.mark.parametrize("n", [2, 10, 30])
def test_a_confusion_matrix_is_a_png_and_always_the_same_bytes(n: int) -> None:
    counts = np.random.default_rng(0).integers(0, 100, (n, n))
    names = [f"class {number}" for number in range(n)]
    first, again = (figures.confusion_matrix(counts, names) for _ in range(2))
    assert first == again
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
        assert len(set(image.convert("L").tobytes())) > 20  # it is not blank


def test_a_class_without_images_leaves_its_row_empty() -> None:
    assert figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"])
