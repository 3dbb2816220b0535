"""Pages: what was found, as one HTML file that needs nothing else.

Same findings, same bytes. Everything that comes from data or parameters is escaped; the page may load nothing from
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

N_MISTAKES = 24
N_EXAMPLES = 5  # of each class and kind


@dataclass(frozen=True)
class Picture:
    """An image of the test set: what it shows, and what the model said."""

    number: int  # its place in the test set
    png: str  # a data address
    label: str
    predicted: str
    confidence: float  # of the prediction
    of_label: float  # the probability of what it shows


@dataclass(frozen=True)
class Examples:
    """The images of a class whose label the model found least and most probable."""

    name: str
    hardest: list[Picture]
    easiest: list[Picture]


def render(template: str, **content: Any) -> str:
    """Fill a template of this folder; a value that it needs and does not get is an error."""
    loader = PackageLoader("tasks.core", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "inline": inline}
    return environment.get_template(template).render(**content)


def percent(share: float) -> str:
    """A share as a percentage with one digit."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def inline(svg: str) -> Markup:
    """A figure as a part of the page, in the page's own colours."""
    drawing = svg[svg.index("<svg") :].replace(figures.INK, "currentColor").replace(figures.PAPER, "none")
    return Markup(drawing)  # noqa: S704 drawn by figures, which escapes what it is given


def mistakes(
    images: NDArray[np.uint8], labels: NDArray[Any], probabilities: NDArray[Any], names: Sequence[str]
) -> list[Picture]:
    """The images that the model gets wrong with the most confidence."""
    confidence = np.where(probabilities.argmax(axis=1) == labels, -1.0, probabilities.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[:N_MISTAKES]
    return [picture(images, labels, probabilities, names, n) for n in order if confidence[n] >= 0]


def examples(
    images: NDArray[np.uint8], labels: NDArray[Any], probabilities: NDArray[Any], names: Sequence[str]
) -> list[Examples]:
    """The hardest and the easiest images of every class that has any."""
    found = []
    of_label = probabilities[np.arange(len(labels)), labels]
    for label, name in enumerate(names):
        rows = np.flatnonzero(labels == label)
        order = rows[np.argsort(of_label[rows], kind="stable")]
        hardest, easiest = (
            [picture(images, labels, probabilities, names, n) for n in chosen[:N_EXAMPLES]]
            for chosen in (order, order[::-1])
        )
        found += [Examples(name, hardest, easiest)] if hardest else []
    return found


def picture(
    images: NDArray[np.uint8], labels: NDArray[Any], probabilities: NDArray[Any], names: Sequence[str], n: int
) -> Picture:
    """One image of the test set with what the model said of it."""
    predicted = int(probabilities[n].argmax())
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(images[n])).save(buffer, format="PNG")
    png = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    chances = float(probabilities[n, predicted]), float(probabilities[n, labels[n]])
    return Picture(int(n), png, names[labels[n]], names[predicted], *chances)
