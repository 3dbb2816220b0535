"""The pictures of the page: images of a split with their predictions.

Small images are embedded pixel by pixel. Larger ones are scaled down first, so that a page of photographs stays small.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.metrics.types import Predicted

SHOWN = 96  # pixels of the page, of a picture's longer side
STORED = 2 * SHOWN  # pixels of a picture's longer side at most: sharp on a screen of twice the density
N_MISTAKES = 24
N_EXAMPLES = 5  # hardest, and as many easiest, of each class
N_CLASSES = 10  # with examples


@dataclass(frozen=True)
class Picture:
    """An image to show, with its label and its prediction."""

    file: str
    source: str  # a data address
    width: int  # on the page
    height: int
    is_enlarged: bool
    label: str
    predicted: str
    confidence: float  # probability of the predicted class
    true_class_probability: float


@dataclass(frozen=True)
class ClassExamples:
    """The hardest and the easiest images of a class."""

    name: str
    hardest: list[Picture]
    easiest: list[Picture]


@dataclass(frozen=True)
class Gallery:
    """The images of a split."""

    images: NDArray[np.uint8]  # of shape (n, height, width, 3); may be mapped into memory
    files: Sequence[str]
    predicted: Predicted
    class_names: Sequence[str]

    def mistakes(self) -> list[Picture]:
        """Show the most confident mistakes."""
        y_true, y_prob = self.predicted
        confidence = np.where(y_prob.argmax(axis=1) == y_true, -1.0, y_prob.max(axis=1))
        order = np.argsort(-confidence, kind="stable")[:N_MISTAKES]
        return [self.picture(row) for row in order if confidence[row] >= 0]

    def examples(self, labels: Iterable[int]) -> list[ClassExamples]:
        """Show the hardest and easiest images of the given classes."""
        y_true, y_prob = self.predicted
        shown = []
        for label in labels:
            rows = np.flatnonzero(y_true == label)
            order = rows[np.argsort(y_prob[rows, label], kind="stable")]
            hardest, easiest = ([self.picture(row) for row in part[:N_EXAMPLES]] for part in (order, order[::-1]))
            if len(rows):
                shown.append(ClassExamples(self.class_names[label], hardest, easiest))
        return shown

    def picture(self, row: int) -> Picture:
        """Show one image."""
        y_true, y_prob = self.predicted
        predicted = int(y_prob[row].argmax())
        height, width = self.images.shape[1:3]
        scale = SHOWN / max(height, width)
        return Picture(
            file=self.files[row],
            source=_encode(np.asarray(self.images[row])),
            width=max(1, round(scale * width)),
            height=max(1, round(scale * height)),
            is_enlarged=scale > 1,
            label=self.class_names[y_true[row]],
            predicted=self.class_names[predicted],
            confidence=float(y_prob[row, predicted]),
            true_class_probability=float(y_prob[row, y_true[row]]),
        )


def _encode(pixels: NDArray[np.uint8]) -> str:
    """Encode a picture as a data address: PNG, or WebP if it is large."""
    image = Image.fromarray(pixels)
    form: dict[str, Any] = {"format": "PNG"}
    if max(image.size) > SHOWN:
        image.thumbnail((STORED, STORED), Image.Resampling.LANCZOS)
        form = {"format": "WEBP", "quality": 75}
    buffer = io.BytesIO()
    image.save(buffer, **form)
    return f"data:image/{form['format'].lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
