"""Figures of two models: differences with intervals, curves, confusion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.metrics.class_counts import confusion_matrix, most_confused_classes
from tasks.metrics.predictions import Labels, Probabilities
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES
from tasks.reporting.drawing import INK, TRAIN, VALIDATION, drawing_style, elide, svg
from tasks.reporting.evaluation import History
from tasks.reporting.figures import draw_matrix


class Change(NamedTuple):
    """The difference of a score that is to rise, with its interval."""

    name: str
    value: float
    interval: tuple[float, float]


def intervals(changes: Sequence[Change]) -> str:
    """Draw differences with intervals, in points."""
    with drawing_style():
        figure = Figure(figsize=(8.4, 0.3 * len(changes) + 0.9), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, value, ends) in enumerate(changes):
            colour, marker = (TRAIN, "o") if value >= 0 else (VALIDATION, "s")
            axes.plot([100 * end for end in ends], [place, place], color=colour, solid_capstyle="butt")
            face = "none" if ends[0] <= 0 <= ends[1] else colour
            axes.plot([100 * value], [place], marker, color=colour, markerfacecolor=face)
        axes.axvline(0, color=INK, linewidth=1, linestyle=":")
        axes.set_ylim(len(changes) - 0.5, -0.5)
        titles = [SCORES[name].title if name in SCORES else elide(name, 32) for name, *_ in changes]
        axes.set_yticks(range(len(changes)), titles, parse_math=False)
        axes.set_xlabel("change, in points")
        return svg(figure)


def curves(base: History, here: History) -> str:
    """Draw accuracy and loss by epoch on both sides, the base dashed."""
    with drawing_style():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        panels = figure.subplots(1, 2)
        for side, history, line in (("base", base, "--"), ("here", here, "-")):
            for axes, score in zip(panels, ("accuracy", "loss"), strict=True):
                for split, colour in (("train", TRAIN), ("validation", VALIDATION)):
                    if (key := f"{split}_{score}") in history[0]:
                        epochs, values = ([row[name] for row in history] for name in ("epoch", key))
                        style = {"color": colour, "label": f"{split}, {side}", "linewidth": 1.5}
                        axes.plot(epochs, values, line, marker="" if len(epochs) > 1 else "o", **style)
        for axes, label in zip(panels, ("accuracy", "cross-entropy (nats)"), strict=True):
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, labelcolor=INK)
        return svg(figure)


def confusion(y_true: Labels, sides: Sequence[Probabilities], class_names: Sequence[str]) -> list[str]:
    """Draw the classes that changed most: base, here, and the difference."""
    before, now = counts = [confusion_matrix(y_true, y_prob) for y_prob in sides]
    drawn = most_confused_classes(np.abs(now - before), MANY_CLASSES)
    support = np.bincount(y_true, minlength=len(class_names))
    change = draw_matrix(now - before, support, class_names, drawn, is_difference=True)
    return [*(draw_matrix(matrix, support, class_names, drawn) for matrix in counts), change]
