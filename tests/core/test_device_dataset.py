"""Images in the device's memory, on whatever device the tests have."""

from typing import Any

import numpy as np
import pytest

from tasks.core.batches import IndexBatches
from tests.support.training import AUGMENT, fit


@pytest.mark.parametrize("patience", [0, 1])
def test_images_on_the_device_train_the_same_model(patience: int) -> None:
    how: dict[str, Any] = {"augment": AUGMENT, "patience": patience}
    (here, rows), (there, rows_there) = fit(**how), fit(**how, feed=IndexBatches)
    for expected, weights in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert rows_there[-1] == pytest.approx(rows[-1], abs=1e-3)
