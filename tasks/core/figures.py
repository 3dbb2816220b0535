"""Figures: arrays in, PNG bytes out; the same arrays are always the same bytes."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def confusion_matrix(counts: NDArray[np.int64], names: list[str]) -> bytes:
    """The confusion matrix: colour is the share of the true class, numbers are counts.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_classes)
        Rows are true classes.
    names : list of str
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.62 * len(names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"Confusion matrix, {counts.sum():,} images")
    for (row, column), count in np.ndenumerate(counts):
        ink = "black" if shares[row, column] > 0.5 else "white"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
