"""Figures of a study: estimates in, SVG text out."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.metrics.significance import Estimate
from tasks.reporting.drawing import INK, TRAIN, VALIDATION, drawing_style, svg

MARKERS = "osv^D<>pPX*h"

# Each pair is of the gap and of the validation score, in points.
Estimates = tuple[Estimate, Estimate]
Differences = tuple[Estimate | None, Estimate | None]  # None without seeds in common, and for the baseline
SeedCurves = tuple[Sequence[float], Sequence[float]]  # of one seed: gaps and validation accuracies by epoch


def effects(values: Mapping[str, Estimates], differences: Mapping[str, Differences], score: str) -> str:
    """Draw each variant's gap, validation score, and differences from the baseline."""
    names = list(values)
    with drawing_style():
        figure = Figure(figsize=(10.5, 1.2 + 0.7 * len(names)), layout="constrained")
        panels = figure.subplots(2, 2, sharey=True)
        titles = (("gap", score), ("gap: difference", f"{score}: difference"))
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
    if estimate is None:
        return
    axes.plot([estimate.mean], [place], marker="o", markersize=6, color=colour)
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")


def curves(variants: Mapping[str, Sequence[SeedCurves]]) -> str:
    """Draw the mean gap and validation accuracy by epoch.

    Later epochs are means over the seeds that got there.
    """
    with drawing_style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        panels = _panels(figure, "epoch", "validation accuracy")
        for number, (name, seeds) in enumerate(variants.items()):
            for column, axes in enumerate(panels):
                by_epoch = zip_longest(*(seed[column] for seed in seeds), fillvalue=np.nan)
                means = np.nanmean([*by_epoch], axis=1)
                style = _line_style(number) | {"markevery": max(len(means) // 6, 1), "markersize": 4, "linewidth": 1.4}
                axes.plot(range(1, len(means) + 1), 100 * means, label=name, **style)
        for axes in panels:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", labelcolor=INK)
        return svg(figure)


def _line_style(number: int) -> dict[str, Any]:
    return {"color": f"C{number}", "marker": MARKERS[number % len(MARKERS)]}


def _panels(figure: Figure, parameter: str, score: str) -> list[Axes]:
    left, right = figure.subplots(1, 2)
    left.set(xlabel=parameter, ylabel="gap (points)")
    right.set(xlabel=parameter, ylabel=f"{score} (%)")
    return [left, right]


def sweep(parameter: str, lines: Mapping[str, Mapping[float, Estimates]], score: str) -> str:
    """Draw gap and validation score over a parameter's values."""
    values = sorted({value for points in lines.values() for value in points})
    positive = [value for value in values if value > 0]
    with drawing_style():
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        panels = _panels(figure, parameter, score)
        for column, axes in enumerate(panels):
            for number, (name, points) in enumerate(lines.items()):
                style = _line_style(number)
                means = [estimates[column].mean for estimates in points.values()]
                axes.plot(list(points), means, markersize=5, label=name, **style)
                for value, estimates in points.items():
                    low, high = estimates[column].low, estimates[column].high
                    if low is not None and high is not None:
                        axes.plot([value, value], [low, high], linewidth=2, color=style["color"])
            if positive and max(positive) / min(positive) >= 20:
                axes.set_xscale("symlog", linthresh=min(positive))  # which holds zero, too
            axes.set_xticks(values, [f"{value:,g}" for value in values])
            axes.minorticks_off()
        if len(lines) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", labelcolor=INK)
        return svg(figure)
