"""Figures of an evaluation: arrays in, SVG text out.

The same arrays are always the same text. Axes and words have the colour INK and backgrounds PAPER, and nothing else
has, so that a page can replace both by its own colours. Curves have colours of Okabe and Ito's set, which colour-blind
people tell apart on light and on dark paper.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK, PAPER = "#20242b", "#fefefe"
TRAIN, VALIDATION, THIRD = "#0072b2", "#d55e00", "#009e73"
MAX_NUMBERED = 20  # classes; with more, the cells of a confusion matrix have no numbers
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

History = Sequence[Mapping[str, float]]  # rows of reports/history.csv


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw with matplotlib's defaults and STYLE, ignoring a personal matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def learning_curves(history: History, kept_epoch: int | None = None) -> str:
    """Draw loss, accuracy with the gap, and learning rate by epoch.

    Parameters
    ----------
    history : sequence of mappings
        Rows with the columns of reports/history.csv.
    kept_epoch : int, optional
        The epoch whose weights early stopping kept.
    """
    with drawing_style():
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
        epochs = [row["epoch"] for row in history]
        for axes, score, unit in ((loss, "loss", "cross-entropy (nats)"), (accuracy, "accuracy", "accuracy")):
            curves = {}
            for split, colour, marker in (("train", TRAIN, "o"), ("validation", VALIDATION, "s")):
                if f"{split}_{score}" in history[0]:
                    curves[split] = [row[f"{split}_{score}"] for row in history]
                    axes.plot(epochs, curves[split], color=colour, marker=marker, markersize=4, label=split)
            if score == "accuracy" and len(curves) == 2:
                axes.fill_between(epochs, *curves.values(), color=TRAIN, alpha=0.18, linewidth=0, label="gap")
            _label_epochs(axes, unit, kept_epoch)
            axes.legend(labelcolor=INK)
        rate.plot(epochs, [row["learning_rate"] for row in history], color=THIRD, marker="o", markersize=4)
        _label_epochs(rate, "learning rate", kept_epoch)
        return svg(figure)


def _label_epochs(axes: Axes, label: str, kept_epoch: int | None) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if kept_epoch is not None:
        axes.axvline(kept_epoch, color=INK, linestyle=":", linewidth=1.2, label="kept by early stopping")


def confusion_matrix(
    counts: NDArray[np.int64], class_names: Sequence[str], drawn: NDArray[np.int64] | None = None
) -> str:
    """Draw a confusion matrix, coloured by the share of the true class.

    Each cell has its count and below it that share in percent, unless more than MAX_NUMBERED classes are drawn.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_classes)
        Rows are true classes.
    class_names : sequence of str
    drawn : ndarray of shape (n,), optional
        The classes of the rows and columns to draw; shares stay those of whole rows.
    """
    drawn = np.arange(len(class_names)) if drawn is None else drawn
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[np.ix_(drawn, drawn)]
    counts, class_names = counts[np.ix_(drawn, drawn)], [elide(class_names[label]) for label in drawn]
    numbered = len(class_names) <= MAX_NUMBERED
    side = 2.0 + (0.66 if numbered else 0.2) * len(class_names)
    with drawing_style():
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.add_subplot()
        cells = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(ticks, class_names, parse_math=False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for (row, column), count in np.ndenumerate(counts if numbered else np.empty((0, 0))):
            colour = "black" if shares[row, column] > 0.5 else "white"
            text = f"{count:,}" + (f"\n{shares[row, column]:.0%}" if shares[row, column] >= 0.005 else "")
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(cells, ax=axes, label="share of the true class", shrink=0.8)
        return svg(figure)


def reliability(bins: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> str:
    """Draw accuracy over confidence, and below it the share of images.

    Parameters
    ----------
    bins : mapping of str to (n, accuracy, confidence)
        Arrays of shape (n_bins,) by the label of their curve.
    """
    with drawing_style():
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        diagram, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        diagram.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="confidence is accuracy")
        for (label, (n, accuracy, confidence)), colour, marker in zip(
            bins.items(), (VALIDATION, TRAIN), "os", strict=False
        ):
            filled = n > 0
            diagram.plot(confidence[filled], accuracy[filled], color=colour, marker=marker, markersize=5, label=label)
            edges = np.linspace(0, 1, len(n) + 1)
            share.stairs(n / n.sum(), edges, color=colour, fill=False, linewidth=1.5)
        diagram.set_ylabel("accuracy")
        diagram.set_aspect("auto")
        diagram.legend(labelcolor=INK)
        share.set_xlabel("confidence: probability of the predicted class")
        share.set_ylabel("share of images")
        share.set_xlim(0, 1)
        return svg(figure)


def elide(name: str, n: int = 24) -> str:
    """Shorten a name to `n` characters by taking out its middle.

    Names of files and classes often differ at one of their ends.
    """
    if len(name) <= n:
        return name
    return f"{name[: n // 2]}…{name[len(name) - (n - 1) // 2 :]}"


def svg(figure: Figure) -> str:
    """Write a figure as text without times and random names."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
