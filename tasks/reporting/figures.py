"""Figures of an evaluation: arrays in, SVG text out, always the same."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.metrics.calibration import ReliabilityBins
from tasks.metrics.class_counts import Counts, most_confused_classes
from tasks.metrics.summarize import MANY_CLASSES
from tasks.reporting.drawing import INK, THIRD, TRAIN, VALIDATION, drawing_style, elide, svg
from tasks.reporting.evaluation import Evaluation, History
from tasks.reporting.results import Results

MAX_NUMBERED = 20  # classes; with more, the cells of a confusion matrix have no numbers


def draw_figures(evaluation: Evaluation, results: Results) -> dict[str, str]:
    """Draw the figures of the report: name → SVG."""
    return {
        "curves": learning_curves(evaluation.history, evaluation.best_epoch),
        "confusion": confusion_matrix(results.confusion_matrix, evaluation.class_names),
        "reliability": reliability(results.calibration.bins),
    }


def learning_curves(history: History, best_epoch: int | None = None) -> str:
    """Draw loss, accuracy with the gap, and learning rate by epoch."""
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
            _label_epochs(axes, unit, best_epoch)
            axes.legend(labelcolor=INK)
        rate.plot(epochs, [row["learning_rate"] for row in history], color=THIRD, marker="o", markersize=4)
        _label_epochs(rate, "learning rate", best_epoch)
        return svg(figure)


def _label_epochs(axes: Axes, label: str, best_epoch: int | None) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if best_epoch is not None:
        axes.axvline(best_epoch, color=INK, linestyle=":", linewidth=1.2, label="kept by early stopping")


def confusion_matrix(counts: Counts, class_names: Sequence[str]) -> str:
    """Draw the most confused classes, coloured by share of their row."""
    return draw_matrix(counts, counts.sum(axis=1), class_names, most_confused_classes(counts, MANY_CLASSES))


def draw_matrix(
    counts: Counts, support: Counts, class_names: Sequence[str], drawn: Counts, is_difference: bool = False
) -> str:
    """Draw a part of a confusion matrix, or of a difference."""
    shares = (counts / np.maximum(support, 1)[:, None])[np.ix_(drawn, drawn)]
    counts, class_names = counts[np.ix_(drawn, drawn)], [elide(class_names[label]) for label in drawn]
    numbered = len(class_names) <= MAX_NUMBERED
    side = 2.0 + (0.66 if numbered else 0.2) * len(class_names)
    limit = max(float(np.abs(shares).max()), 0.01) if is_difference else 1.0
    with drawing_style():
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.add_subplot()
        colours, lowest = ("PuOr", -limit) if is_difference else ("cividis", 0.0)
        cells = axes.imshow(shares, cmap=colours, vmin=lowest, vmax=limit)
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(ticks, class_names, parse_math=False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for (row, column), count in np.ndenumerate(counts if numbered else np.empty((0, 0))):
            if is_difference and not count:
                continue
            share = shares[row, column]
            colour = "black" if (abs(share) < 0.7 * limit if is_difference else share > 0.5) else "white"
            percentage = f"\n{share:.0%}" if share >= 0.005 and not is_difference else ""
            text = f"{count:+,}" if is_difference else f"{count:,}{percentage}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(
            cells, ax=axes, label=f"{'change of the ' if is_difference else ''}share of the true class", shrink=0.8
        )
        return svg(figure)


def reliability(curves: Mapping[str, ReliabilityBins]) -> str:
    """Draw accuracy over confidence, and below it the share of images."""
    with drawing_style():
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        diagram, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        diagram.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="confidence is accuracy")
        styles = ((VALIDATION, "o"), (TRAIN, "s"))
        for (label, (n, accuracy, confidence)), (colour, marker) in zip(curves.items(), styles, strict=False):
            filled = n > 0
            diagram.plot(confidence[filled], accuracy[filled], color=colour, marker=marker, markersize=5, label=label)
            share.stairs(n / n.sum(), np.linspace(0, 1, len(n) + 1), color=colour, linewidth=1.5)
        diagram.set_ylabel("accuracy")
        diagram.legend(labelcolor=INK)
        share.set_xlabel("confidence: probability of the predicted class")
        share.set_ylabel("share of images")
        share.set_xlim(0, 1)
        return svg(figure)
