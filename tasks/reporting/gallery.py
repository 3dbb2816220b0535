"""The pictures of the page: images of a split with their predictions."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.reporting.evaluation import Evaluation

SHOWN = 96  # pixels of the page, of a picture's longer side
STORED = 2 * SHOWN  # likewise, of the file, at most: sharp on a screen of twice the density
N_MISTAKES = 24
N_EXAMPLES = 5  # hardest, and as many easiest, of each class
N_CLASSES = 10  # with examples


class Picture(NamedTuple):
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


class ClassExamples(NamedTuple):
    """The hardest and the easiest images of a class."""

    name: str
    hardest: list[Picture]
    easiest: list[Picture]


def mistakes(evaluation: Evaluation) -> list[Picture]:
    """Show the most confident mistakes on test."""
    y_true, y_prob = evaluation.calibrated["test"]
    confidence = np.where(y_prob.argmax(axis=1) == y_true, -1.0, y_prob.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[:N_MISTAKES]
    return [picture(evaluation, "test", row) for row in order if confidence[row] >= 0]


def examples(evaluation: Evaluation, labels: Iterable[int]) -> list[ClassExamples]:
    """Show the hardest and easiest test images of the given classes."""
    y_true, y_prob = evaluation.calibrated["test"]
    shown = []
    for label in labels:
        rows = np.flatnonzero(y_true == label)
        order = rows[np.argsort(y_prob[rows, label], kind="stable")]
        ends = (order[:N_EXAMPLES], order[::-1][:N_EXAMPLES])
        hardest, easiest = ([picture(evaluation, "test", row) for row in end] for end in ends)
        if len(rows):
            shown.append(ClassExamples(evaluation.class_names[label], hardest, easiest))
    return shown


def picture(evaluation: Evaluation, split: str, row: int) -> Picture:
    """Show one image of an evaluation."""
    y_true, y_prob = evaluation.calibrated[split]
    file, pixels = evaluation.files[split][row], np.asarray(evaluation.images[split][row])
    return show_image(file, pixels, evaluation.class_names, int(y_true[row]), y_prob[row])


def show_image(
    file: str, pixels: NDArray[np.uint8], class_names: Sequence[str], label: int, y_prob: NDArray[np.floating[Any]]
) -> Picture:
    """Show an image with its label and its class probabilities."""
    predicted, (height, width) = int(y_prob.argmax()), pixels.shape[:2]
    scale = SHOWN / max(height, width)
    return Picture(
        file=file,
        source=_encode(pixels),
        width=max(1, round(scale * width)),
        height=max(1, round(scale * height)),
        is_enlarged=scale > 1,
        label=class_names[label],
        predicted=class_names[predicted],
        confidence=float(y_prob[predicted]),
        true_class_probability=float(y_prob[label]),
    )


def _encode(pixels: NDArray[np.uint8]) -> str:
    """Encode a picture as a data address: PNG, or WebP if large."""
    image = Image.fromarray(pixels)
    form: dict[str, Any] = {"format": "PNG"}
    if max(image.size) > SHOWN:
        image.thumbnail((STORED, STORED), Image.Resampling.LANCZOS)
        form = {"format": "WEBP", "quality": 75}
    buffer = io.BytesIO()
    image.save(buffer, **form)
    return f"data:image/{form['format'].lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
