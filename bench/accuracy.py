"""Time to accuracy: the notebook against whole trainings of this project.

What the trainings take stands in docs/recipes.csv, and counts where this CPU took it; an epoch of the notebook is timed
anew, in turn with the trainings that are missing there.
"""

import statistics
from typing import NamedTuple

from bench import recipes, reference
from bench.measure import Found, cpu, ratio, run, side

NEAR = 0.005  # below the reference's best: where it first arrives depends less on luck

Curves = dict[int, recipes.Curve]
Side = tuple[str, list[float]]


class Goal(NamedTuple):
    """The speed and mean test accuracy that a variant must reach."""

    ratio: float
    accuracy: float
    with_views: bool  # by test-time augmentation


GOALS = {"fast": Goal(15, 0.94, with_views=True), "quick": Goal(92, 0.904, with_views=False)}


def accuracy(rounds: int = 5) -> list[Found]:
    """Run the seeds that are missing, and compare."""
    missing, epochs = list(recipes.missing()), []
    for n in range(rounds):
        epochs.append(run(side("stock"))["seconds"])
        for variant, seed in missing[n::rounds]:
            recipes.measure(variant, seed)
    return [*_time_to_reference_best(epochs), *_whole_trainings(epochs)]


def _time_to_reference_best(epochs: list[float]) -> list[Found]:
    default, reached = _timed_here("default"), reference.curves()
    if not reached:
        print("time to the reference's accuracy: left out; `make bench-reference` measures its curve first")
    if not (default and reached):
        return []
    best = statistics.mean(max(row["val_accuracy"] for row in rows) for rows in reached.values())
    near = best - NEAR
    epoch = statistics.median(epochs)
    of_reference = [epoch * first(rows, "val_accuracy", near)["epoch"] for rows in reached.values()]

    def of_default(accuracy: float) -> Side:
        arrived = [first(rows, "validation_accuracy", accuracy) for rows in default.values()]
        return f"default to {accuracy:.4f}", [float(row["seconds"]) for row in arrived]

    found = [
        ratio(
            "time to the reference's best validation accuracy less 0.5 points: reference / default",
            40,
            (f"reference to {near:.4f}", of_reference),
            of_default(near),
        ),
        ratio(
            "the reference's 150 epochs / default to the reference's best validation accuracy",
            120,
            _whole(epochs),
            of_default(best),
        ),
    ]
    for one, target in zip(found, (near, best), strict=True):
        never = sum(all(float(row["validation_accuracy"]) < target for row in rows) for rows in default.values())
        one |= {"target": round(target, 4), "runs_that_never_arrived": never, "met": one["met"] and not never}
        one |= {"reference_seeds": len(reached), "test_accuracy": _spread(default)}
    return found


def first(curve: list[dict[str, float]] | recipes.Curve, column: str, at_least: float) -> dict[str, float]:
    """Find the first epoch that reaches the accuracy, else the last."""
    return next((row for row in curve if float(row[column]) >= at_least), curve[-1])


def _whole_trainings(epochs: list[float]) -> list[Found]:
    """Compare whole trainings, whose mean accuracy must reach a goal, too."""
    found = []
    for variant, goal in GOALS.items():
        if curves := _timed_here(variant):
            name = f"the reference's 150 epochs / variant {variant}, all of it"
            took = [float(curve[-1]["seconds"]) for curve in curves.values()]
            one, reached = ratio(name, goal.ratio, _whole(epochs), (variant, took)), {"test_accuracy": _spread(curves)}
            if goal.with_views:
                reached["test_accuracy_with_views"] = _spread(curves, with_views=True)
            *_, judged = reached.values()
            one |= {**reached, "accuracy_goal": goal.accuracy}
            found.append(one | {"met": one["met"] and judged["mean"] >= goal.accuracy})
    return found


def _timed_here(variant: str) -> Curves:
    """Select the seeds of a variant that this CPU trained."""
    curves = recipes.curves(variant)
    found = {seed: curve for seed, curve in curves.items() if curve[-1]["cpu"] == cpu()}
    if not found:
        print(f"variant {variant}: left out; another CPU timed it; without its rows in {recipes.CURVES} this one does")
    return found


def _whole(epochs: list[float]) -> Side:
    return reference.WHOLE, [reference.EPOCHS * seconds for seconds in epochs]


def _spread(curves: Curves, with_views: bool = False) -> dict[str, float]:
    values = [recipes.accuracy_on_test(curve, with_views) for curve in curves.values()]
    return {
        "mean": round(statistics.mean(values), 4), "minimum": min(values), "maximum": max(values), "n": len(values)
    }  # fmt: skip
