"""Draw accuracy by seconds of training: ours, stock Keras, PyTorch.

`python -m bench.frontier` writes docs/frontier.svg from docs/recipes.csv and docs/reference.csv. Thin lines are
validation accuracy, one a seed; a point is the mean test accuracy over seeds, with its range. The notebook was never
scored on test: its point is hollow, the best of validation.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import recipes, reference
from bench.measure import Found
from tasks.reporting.drawing import INK, PAPER, THIRD, TRAIN, VALIDATION, drawing_style, svg

FIGURE = Path("docs/frontier.svg")
MEASURED = Path("docs/bench.json")
TICKS = {
    2: "2 s", 5: "5 s", 10: "10 s", 30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min", 1_800: "30 min",
    3_600: "1 h", 7_200: "2 h",
}  # fmt: skip
LOWEST, HIGHEST = 55.0, 97.0  # accuracies that are drawn, percent

Point = tuple[float, float]  # seconds, percent


class Training(NamedTuple):
    """What some seeds of one recipe reached, and when."""

    name: str
    curves: Sequence[Sequence[Point]]  # validation accuracy of each seed
    ends: Sequence[float]  # accuracy of each finished model, percent
    is_test: bool = True

    @property
    def seconds(self) -> float:
        return statistics.mean(curve[-1][0] for curve in self.curves)

    @property
    def accuracy(self) -> float:
        return statistics.mean(self.ends)


class Side(NamedTuple):
    """Trainings that a line joins, and the offset of their names."""

    name: str
    colour: str
    marker: str
    trainings: Sequence[Training]
    offset: tuple[float, float]  # in points of type


def draw(sides: Sequence[Side]) -> str:
    """Draw the curves of each training, and a line for each side."""
    with drawing_style():
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for side in sides:
            for training in side.trainings:
                _draw_training(axes, side, training)
            ends = sorted((one.seconds, one.accuracy) for one in side.trainings)
            axes.plot(*zip(*ends, strict=True), color=side.colour, linewidth=2.2)
        times = [point[0] for side in sides for one in side.trainings for curve in one.curves for point in curve]
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 1.3, max(times) * 1.3)
        ticks = {at: text for at, text in TICKS.items() if min(times) <= at <= max(times)}
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
        axes.set_ylim(LOWEST, HIGHEST)
        axes.set_xlabel("time of training on two cores")
        axes.set_ylabel("accuracy (%)")
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
        return svg(figure)


def _draw_training(axes: Axes, side: Side, training: Training) -> None:
    for curve in training.curves:
        axes.plot(*zip(*curve, strict=True), color=side.colour, linewidth=0.8, alpha=0.35)
    at = training.seconds, training.accuracy
    axes.plot([at[0]] * 2, [min(training.ends), max(training.ends)], color=side.colour, linewidth=2)
    face = side.colour if training.is_test else PAPER
    axes.plot(*at, marker=side.marker, markersize=8, color=side.colour, markerfacecolor=face, markeredgewidth=1.5)
    axes.annotate(
        f"{training.name}: {at[1]:.1f} %",
        at,
        side.offset,
        textcoords="offset points",
        color=side.colour,
        ha="right" if side.offset[0] < 0 else "left",
        va="center",
    )


def sides() -> list[Side]:
    """Read the sides that were measured on the CPU of the reference's last row."""
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["ratios"]
    measured = [row for row in rows if reference.WHOLE in row["sides"]]
    cpu = measured[-1]["cpu"] if measured else ""
    ours = [_recipe_training(variant, f"ours, {variant}", cpu) for variant in ("default", "quick", "fast")]
    rivals = [_recipe_training(variant, f"PyTorch, {rival.name}", cpu) for variant, rival in recipes.RIVALS.items()]
    found = [
        Side("ours", TRAIN, "o", [one for one in ours if one], (-9, 10)),
        Side("PyTorch", THIRD, "s", [one for one in rivals if one], (2, -16)),
        Side("stock Keras", VALIDATION, "D", _reference_trainings(measured), (-6, 16)),
    ]
    return [side for side in found if side.trainings]


def _recipe_training(variant: str, name: str, cpu: str) -> Training | None:
    curves = [curve for curve in recipes.curves(variant).values() if curve[-1]["cpu"] == cpu]
    if not curves:
        return None
    points = [[(float(row["seconds"]), 100 * float(row["validation_accuracy"])) for row in curve] for curve in curves]
    return Training(name, points, [100 * recipes.accuracy_on_test(curve) for curve in curves])


def _reference_trainings(measured: Sequence[Found]) -> list[Training]:
    epochs = list(reference.curves().values())
    if not (epochs and measured):
        return []
    epoch = measured[-1]["sides"][reference.WHOLE]["median"] / reference.EPOCHS
    curves = [[(row["epoch"] * epoch, 100 * row["val_accuracy"]) for row in rows] for rows in epochs]
    best = [max(accuracy for _, accuracy in curve) for curve in curves]
    return [Training(f"stock Keras, {reference.EPOCHS} epochs, best on validation", curves, best, is_test=False)]


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.frontier", description=(__doc__ or "").splitlines()[0]).parse_args()
    measured = sides()
    FIGURE.write_text(draw(measured), encoding="utf-8")
    print(f"{FIGURE}: {', '.join(side.name for side in measured)}")
