"""The effects of a study's variants: estimates, p-values and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
Sweeps = dict[str, dict[str, dict[float, str]]]  # parameter → variant's name → value → variant


def analyse(rows: Sequence[Row], baseline: str) -> Effects:
    """Compare every variant with the baseline, without p-values of test accuracy."""
    variants = list(dict.fromkeys([baseline, *(row.variant for row in rows)]))
    return {measure: _analyse_measure(rows, measure, variants) for measure in (*MEASURES, "test_accuracy")}


def _analyse_measure(rows: Sequence[Row], measure: str, variants: Sequence[str]) -> dict[str, Effect]:
    values = {
        variant: {row.seed: 100 * getattr(row, measure) for row in rows if row.variant == variant}
        for variant in variants
    }
    baseline = values[variants[0]]
    differences: dict[str, significance.Estimate] = {}
    p_values: dict[str, float | None] = {}
    for variant in variants[1:]:
        if seeds := sorted(values[variant].keys() & baseline.keys()):
            pair = [values[variant][seed] for seed in seeds], [baseline[seed] for seed in seeds]
            differences[variant] = significance.mean([new - old for new, old in zip(*pair, strict=True)])
            p_values[variant] = significance.paired_p_value(*pair) if measure in MEASURES else None
    corrected = correct(p_values)
    return {
        variant: Effect(
            significance.mean(list(values[variant].values())), differences.get(variant), corrected.get(variant)
        )
        for variant in variants
    }


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
        if variant in swept and _is_number(value):
            sweeps.setdefault(swept[variant], {}).setdefault(name, {})[float(value)] = variant
    return {
        parameter: {name: dict(sorted(points.items())) for name, points in lines.items()}
        for parameter, lines in sweeps.items()
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
