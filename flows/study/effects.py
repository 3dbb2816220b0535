"""The effects of a study's variants: estimates, p-values and sentences."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import log
from statistics import median
from typing import TypeVar

from flows.study.results import Row
from tasks.metrics import significance

T = TypeVar("T")

MEASURES = {"generalization_gap": "gap", "validation_accuracy": "validation accuracy"}


@dataclass(frozen=True)
class Effect:
    """A variant's measure and its difference from the baseline, over seeds."""

    value: significance.Estimate
    difference: significance.Estimate | None  # None for the baseline itself
    p: float | None  # corrected

    @property
    def is_real(self) -> bool:
        """Whether the difference is told from noise."""
        return self.p is not None and self.p < significance.REAL


Effects = dict[str, dict[str, Effect]]  # measure → variant → effect
Scores = dict[int, float]  # of a variant by seed, in points
Sweeps = dict[str, dict[str, dict[float, str]]]  # parameter → variant's name → value → variant


def analyse(rows: Sequence[Row], baseline: str) -> Effects:
    """Compare every variant with the baseline, without p-values of test accuracy."""
    variants = list(dict.fromkeys([baseline, *(row.variant for row in rows)]))
    return {measure: _analyse_measure(rows, measure, variants) for measure in (*MEASURES, "test_accuracy")}


def _analyse_measure(rows: Sequence[Row], measure: str, variants: Sequence[str]) -> dict[str, Effect]:
    values = {variant: _scores(rows, variant, measure) for variant in variants}
    low, high = (-100.0, 100.0) if measure == "generalization_gap" else (0.0, 100.0)
    baseline = values[variants[0]]
    differences: dict[str, significance.Estimate] = {}
    p_values: dict[str, float | None] = {}
    for variant in variants[1:]:
        pair = _pair(values[variant], baseline)
        if pair[0]:
            differences[variant] = _mean([new - old for new, old in zip(*pair, strict=True)], low - high, high - low)
            p_values[variant] = significance.paired_p_value(*pair) if measure in MEASURES else None
    corrected = correct(p_values)
    return {
        variant: Effect(_mean(values[variant].values(), low, high), differences.get(variant), corrected.get(variant))
        for variant in variants
    }


def _scores(rows: Sequence[Row], variant: str, measure: str) -> Scores:
    return {row.seed: 100 * getattr(row, measure) for row in rows if row.variant == variant}


def _pair(first: Scores, second: Scores) -> tuple[list[float], list[float]]:
    seeds = sorted(first.keys() & second.keys())
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def _mean(points: Iterable[float], low: float = 0.0, high: float = 100.0) -> significance.Estimate:
    return significance.mean(list(points), low, high)


def correct(p_values: Mapping[T, float | None]) -> dict[T, float]:
    """Correct p-values by Holm's method, without those that are None."""
    known = {key: p for key, p in p_values.items() if p is not None}
    return dict(zip(known, significance.holm(list(known.values())), strict=True))


def describe(effects: Effects, variant: str, strength: str | None = None) -> str:
    """Describe an effect: "dropout (dropout 0.5): gap −6.1 points [−6.8, −5.4], …"."""
    gap, accuracy = (effects[measure][variant] for measure in MEASURES)
    if gap.difference is None or accuracy.difference is None:
        return f"{variant}: no seed in common with the baseline."
    text = (
        f"{variant}{f' ({strength})' if strength else ''}: "
        f"gap {significance.show(gap.difference, '+', ' points')}, validation accuracy "
        f"{significance.show(accuracy.difference, '+')}, n = {gap.difference.n}. "
    )
    if gap.difference.n < significance.MIN_PAIRS:
        return text + "Too few seeds to tell."
    narrows = "narrows the gap" if gap.difference.mean < 0 else "widens the gap"
    gains = "gains validation accuracy" if accuracy.difference.mean > 0 else "loses validation accuracy"
    conclusions = {
        (True, True): f"It {narrows} and {gains}.",
        (True, False): f"It {narrows}; its effect on validation accuracy is not told from noise.",
        (False, True): f"It {gains}; its effect on the gap is not told from noise.",
        (False, False): "Its effect on the gap is not told from noise.",
    }
    return text + conclusions[gap.is_real, accuracy.is_real]


def group_sweeps(effects: Effects, swept: Mapping[str, str]) -> Sweeps:
    """Group the variants of sweeps by parameter, name and value, in order."""
    sweeps: Sweeps = {}
    for variant in effects["generalization_gap"]:
        name, _, value = variant.rpartition("=")
        if variant in swept:
            with suppress(ValueError):  # a value that is no number
                strength = float(value)
                sweeps.setdefault(swept[variant], {}).setdefault(name, {})[strength] = variant
    return {
        parameter: {name: dict(sorted(points.items())) for name, points in lines.items()}
        for parameter, lines in sweeps.items()
    }


def describe_learning_curve(rows: Sequence[Row], lines: Mapping[str, Mapping[float, str]]) -> list[str]:
    """Say which variant to choose, and what more images would bring.

    The lines hold variants by name and number of images; fewer than two names leave nothing to choose.
    """
    sizes: dict[float, dict[str, Scores]] = {}
    for name, points in lines.items():
        for n, variant in points.items():
            if accuracies := _scores(rows, variant, "validation_accuracy"):
                sizes.setdefault(n, {})[name] = accuracies
    ranked = {n: sorted(sizes[n].items(), key=lambda item: -_mean(item[1].values()).mean) for n in sorted(sizes)}
    choices = _choices({n: ranking for n, ranking in ranked.items() if len(ranking) > 1}, rows, lines)
    return [*choices, *_outlook({n: ranking[0][1] for n, ranking in ranked.items()})] if choices else []


def _show_time(rows: Sequence[Row], variant: str) -> str:
    known = [row.seconds for row in rows if row.variant == variant and row.seconds is not None]
    return f"{median(known):,.0f} s" if known else "time not recorded"


def _choices(
    ranked: Mapping[float, Sequence[tuple[str, Scores]]], rows: Sequence[Row], lines: Mapping[str, Mapping[float, str]]
) -> list[str]:
    """Compare the best two of each size by corrected paired t-tests."""
    pairs = {n: _pair(best[1], second[1]) for n, (best, second, *_) in ranked.items()}
    corrected = correct({n: significance.paired_p_value(*pair) for n, pair in pairs.items()})
    choices = []
    for n, ((best, accuracies), (second, _), *_) in ranked.items():
        values = significance.show(_mean(accuracies.values()))
        gained = [a - b for a, b in zip(*pairs[n], strict=True)]  # none where no seed of both has ended
        ahead = f", {significance.show(_mean(gained, -100.0), '+', ' points')} over {second}" if gained else ""
        is_real = corrected.get(n, 1.0) < significance.REAL
        times = ", ".join(f"{name} {_show_time(rows, lines[name][n])}" for name in (best, second))
        faster = f"{best} is not told from {second}, so choose what trains faster ({times})"
        choice = f"choose {best}" if is_real else faster
        choices.append(f"With {n:,.0f} images {choice}: validation accuracy {values} %{ahead}.")
    return choices


def _outlook(best: Mapping[float, Scores]) -> list[str]:
    """Extrapolate the error of the best to twice the images.

    Errors fall as a power of the number of images (Hestness et al. 2017, https://arxiv.org/abs/1712.00409).
    """
    if len(best) < 2:
        return []
    fewer, most = sorted(best)[-2:]
    error, last = (100 - _mean(best[n].values()).mean for n in (fewer, most))
    if not 0 < last < error:
        return [f"From {fewer:,.0f} to {most:,.0f} images the best did not gain: more images are not what is lacking."]
    exponent = log(error / last) / log(most / fewer)
    doubled = last * 2**-exponent
    return [
        f"From {fewer:,.0f} to {most:,.0f} images the error of the best falls from {error:.1f} to {last:.1f} %. If it "
        f"goes on as this power of their number, {2 * most:,.0f} images would bring it to {doubled:.1f} %: "
        f"{last - doubled:.1f} points of accuracy for twice the images."
    ]
