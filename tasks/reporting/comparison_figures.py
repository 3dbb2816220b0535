"""Figures of two models: differences with intervals, curves, confusion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
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
    """The difference of a score, with its interval."""

    name: str
    value: float
    interval: tuple[float, float]

    @property
    def title(self) -> str:
        return SCORES[self.name].title if self.name in SCORES else elide(self.name, 32)

    @property
    def is_loss(self) -> bool:
        return self.name in SCORES and SCORES[self.name].better == "lower"


def intervals(changes: Sequence[Change]) -> str:
    """Draw differences with intervals; losses on an axis of their own."""
    kinds = {False: (100, "change, in points"), True: (1, "change; lower is better")}
    panels = {is_loss: [change for change in changes if change.is_loss == is_loss] for is_loss in kinds}
    panels = {is_loss: group for is_loss, group in panels.items() if group}
    with drawing_style():
        heights = [len(group) + 1.5 for group in panels.values()]
        figure = Figure(figsize=(8.4, 0.3 * sum(heights) + 0.4), layout="constrained")
        places = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
        for axes, (is_loss, group) in zip(places, panels.items(), strict=True):
            _draw_intervals(axes, group, *kinds[is_loss])
        return svg(figure)


def _draw_intervals(axes: Axes, changes: Sequence[Change], unit: float, label: str) -> None:
    for place, change in enumerate(changes):
        is_real = not change.interval[0] <= 0 <= change.interval[1]
        colour = TRAIN if (change.value < 0) == change.is_loss else VALIDATION
        axes.plot([unit * end for end in change.interval], [place, place], color=colour, solid_capstyle="butt")
        face = colour if is_real else "none"
        axes.plot([unit * change.value], [place], "o" if colour == TRAIN else "s", color=colour, markerfacecolor=face)
    axes.axvline(0, color=INK, linewidth=1, linestyle=":")
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_yticks(range(len(changes)), [change.title for change in changes], parse_math=False)
    axes.set_xlabel(label)


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
                        axes.plot(epochs, values, line, color=colour, label=f"{split}, {side}", linewidth=1.5)
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
