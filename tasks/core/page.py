"""HTML pages, each one file that needs nothing else.

The same content is the same bytes. All that comes from data or parameters is escaped; a page may load nothing from
anywhere, and says so in its content security policy.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from tasks.core import figures
from tasks.core.per_sample import Labels, Probabilities

N_MISTAKES = 24
N_EXAMPLES = 5  # of each class and kind


@dataclass(frozen=True)
class ImageCard:
    """A test image with its label and its prediction."""

    number: int  # its place in the test set
    png: str  # a data address
    label: str
    predicted: str
    confidence: float  # probability of the predicted class
    true_class_probability: float


@dataclass(frozen=True)
class ClassExamples:
    """The images of a class with the least and the most probable labels."""

    name: str
    hardest: list[ImageCard]
    easiest: list[ImageCard]


def render(template: str, **content: Any) -> str:
    """Fill a template of this folder; a missing value is an error."""
    loader = PackageLoader("tasks.core", ".")
    environment = Environment(
        # control: escaping
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "inline": inline}
    return environment.get_template(template).render(**content)


def percent(share: float) -> str:
    """Write a share as a percentage with one digit."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def inline(svg: str) -> Markup:
    """Embed a figure in the page, in the page's own colours."""
    drawing = svg[svg.index("<svg") :].replace(figures.INK, "currentColor").replace(figures.PAPER, "none")
    return Markup(drawing)  # noqa: S704 drawn by figures, which escapes what it is given


def mistakes(
    images: NDArray[np.uint8], y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]
) -> list[ImageCard]:
    """Show the images that the model gets wrong with the most confidence."""
    confidence = np.where(y_prob.argmax(axis=1) == y_true, -1.0, y_prob.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[:N_MISTAKES]
    return [image_card(images, y_true, y_prob, class_names, n) for n in order if confidence[n] >= 0]


def examples(
    images: NDArray[np.uint8], y_true: Labels, y_prob: Probabilities, class_names: Sequence[str]
) -> list[ClassExamples]:
    """Show the hardest and easiest images of every class with images."""
    shown = []
    true_class_probability = y_prob[np.arange(len(y_true)), y_true]
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(y_true == label)
        if not len(rows):
            continue
        order = rows[np.argsort(true_class_probability[rows], kind="stable")]
        hardest, easiest = (
            [image_card(images, y_true, y_prob, class_names, n) for n in chosen[:N_EXAMPLES]]
            for chosen in (order, order[::-1])
        )
        shown.append(ClassExamples(name, hardest, easiest))
    return shown


def image_card(
    images: NDArray[np.uint8], y_true: Labels, y_prob: Probabilities, class_names: Sequence[str], n: int
) -> ImageCard:
    """Show image `n` of the test set with its label and prediction."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(images[n])).save(buffer, format="PNG")
    predicted = int(y_prob[n].argmax())
    return ImageCard(
        number=int(n),
        png=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        label=class_names[y_true[n]],
        predicted=class_names[predicted],
        confidence=float(y_prob[n, predicted]),
        true_class_probability=float(y_prob[n, y_true[n]]),
    )
