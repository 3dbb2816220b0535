"""Figures of a study: estimates in, SVG text out, in the style of `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.core.effects import Estimate
from tasks.core.figures import INK, TRAIN, VALIDATION, drawing_style, svg

Pair = tuple[Estimate, Estimate]  # of the gap and of validation accuracy, in points
PanelCurves = Sequence[tuple[Sequence[float], Sequence[float]]]  # a seed's gaps and accuracies by epoch


def effects(values: Mapping[str, Pair], differences: Mapping[str, tuple[Estimate | None, Estimate | None]]) -> str:
    """Gap and validation accuracy of each variant, and the difference of both from the baseline, with intervals."""
    names = list(values)
    with drawing_style():
        figure = Figure(figsize=(10.5, 1.2 + 0.7 * len(names)), layout="constrained")
        panels = figure.subplots(2, 2, sharey=True)
        titles = (("gap", "validation accuracy"), ("gap: difference", "validation accuracy: difference"))
        for row, estimates in enumerate((values, differences)):
            for column, colour in enumerate((VALIDATION, TRAIN)):
                axes = panels[row][column]
                for place, name in enumerate(names):
                    _whisker(axes, place, estimates[name][column], colour)
                if row:
                    axes.axvline(0, color=INK, linewidth=1, linestyle=":")
                axes.set_xlabel(f"{titles[row][column]} (points)")
                axes.set_ylim(len(names) - 0.5, -0.5)
                axes.set_yticks(range(len(names)), names, parse_math=False)
        return svg(figure)


def _whisker(axes: Axes, place: float, estimate: Estimate | None, colour: str) -> None:
    """A mean as a dot, with its interval where it has one."""
    if estimate is None:
        return
    axes.plot([estimate.mean], [place], marker="o", markersize=6, color=colour)
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")


def curves(variants: Mapping[str, PanelCurves]) -> str:
    """The gap and the validation accuracy of every variant by epoch: the mean over the seeds that got so far."""
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    markers = "osv^D<>pPX*h"
    with drawing_style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        panels = figure.subplots(1, 2)
        for number, (name, seeds) in enumerate(variants.items()):
            for column, axes in enumerate(panels):
                means = _mean_by_epoch([seed[column] for seed in seeds])
                style: dict[str, Any] = {"color": colours[number % len(colours)], "marker": markers[number % 12]}
                style |= {"markevery": max(len(means) // 6, 1), "markersize": 4, "linewidth": 1.4}
                axes.plot(range(1, len(means) + 1), 100 * means, label=name, **style)
        for axes, label in zip(panels, ("gap (points)", "validation accuracy (%)"), strict=True):
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", labelcolor=INK)
        return svg(figure)


def _mean_by_epoch(seeds: Sequence[Sequence[float]]) -> np.ndarray:
    longest = max(map(len, seeds))
    padded = np.array([[*seed, *[np.nan] * (longest - len(seed))] for seed in seeds], float)
    means: np.ndarray = np.nanmean(padded, axis=0)
    return means


def sweep(name: str, points: Mapping[float, Pair]) -> str:
    """Gap and validation accuracy over a parameter's values; the axis is logarithmic where they span decades."""
    strengths = list(points)
    with drawing_style():
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
        labels = ("gap (points)", "validation accuracy (%)")
        for column, (axes, colour, label) in enumerate(zip(panels, (VALIDATION, TRAIN), labels, strict=True)):
            estimates = [points[strength][column] for strength in strengths]
            axes.plot(strengths, [one.mean for one in estimates], color=colour, marker="o", markersize=5)
            for strength, one in zip(strengths, estimates, strict=True):
                if one.low is not None and one.high is not None:
                    axes.plot([strength, strength], [one.low, one.high], color=colour, linewidth=2)
            positive = [strength for strength in strengths if strength > 0]
            if positive and max(positive) / min(positive) >= 20:
                axes.set_xscale("symlog", linthresh=min(positive))
            axes.set_xlabel(name)
            axes.set_ylabel(label)
        return svg(figure)
