"""The style of all figures, and how they become text.

Axes and words have the colour INK and backgrounds PAPER, and nothing else has, so that a page can replace both by its
own colours. Curves have colours of Okabe and Ito, which colour-blind people tell apart on light and on dark paper.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure

INK, PAPER = "#20242b", "#fefefe"
TRAIN, VALIDATION, THIRD = "#0072b2", "#d55e00", "#009e73"
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "",
    "font.family": "sans-serif",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw with matplotlib's defaults and STYLE, ignoring a personal matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def svg(figure: Figure) -> str:
    """Write a figure as text without times and random names."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def elide(name: str, n: int = 24) -> str:
    """Take out the middle of a name; ends often differ."""
    if len(name) <= n:
        return name
    return f"{name[: n // 2]}…{name[len(name) - (n - 1) // 2 :]}"
