"""The effects of a study's variants: estimates, p-values and sentences."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import log
from statistics import median
from typing import TypeVar

from flows.study.results import GAP, Row
from tasks.metrics import significance

T = TypeVar("T")


@dataclass(frozen=True)
class Effect:
    """A variant's measure and its difference from the baseline, over seeds."""

    value: significance.Estimate
    difference: significance.Estimate | None  # None for the baseline itself
    p: float | None  # corrected
    could_have_seen: float | None = None  # with 80 % power, at the strictest level of the correction
    excluded: float | None = None  # the size above which effects are excluded

    @property
    def is_real(self) -> bool:
        """Whether the difference is told from noise."""
        return self.p is not None and self.p < significance.REAL


Effects = dict[str, dict[str, Effect]]  # measure, a column of study.csv → variant → effect
Scores = dict[int, float]  # of a variant by seed, in points
Sweeps = dict[str, dict[str, dict[float, str]]]  # parameter → variant's name → value → variant


def measures(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns that a study judges by, and their fields."""
    return {GAP: GAP, f"validation_{rows[0].score}": "validation"}


def show_measure(measure: str) -> str:
    """Name a measure in words: `gap`, `validation accuracy`."""
    return "gap" if measure == GAP else measure.replace("_", " ")


def analyse(rows: Sequence[Row], baseline: str) -> Effects:
    """Compare every variant with the baseline, on test without judging."""
    variants = list(dict.fromkeys([baseline, *(row.variant for row in rows)]))
    fields = {**measures(rows), f"test_{rows[0].score}": "test"}
    return {measure: _analyse_measure(rows, field, variants) for measure, field in fields.items()}


def _analyse_measure(rows: Sequence[Row], field: str, variants: Sequence[str]) -> dict[str, Effect]:
    baseline, *others = variants
    values = {variant: _scores(rows, variant, field) for variant in variants}
    low, high = (-100.0, 100.0) if field == GAP else (0.0, 100.0)
    pairs = {variant: paired_differences(rows, variant, baseline, field) for variant in others}
    tested = field != "test"
    corrected = correct({variant: significance.paired_p_value(pairs[variant]) for variant in others if tested})
    level = significance.REAL / max(len(corrected), 1)  # Holm's strictest, at which he refuses nothing
    effects = {baseline: Effect(_mean(values[baseline].values(), low, high), None, None)}
    for variant, differences in pairs.items():
        effects[variant] = Effect(
            _mean(values[variant].values(), low, high),
            _mean(differences, low - high, high - low) if differences else None,
            corrected.get(variant),
            significance.could_have_seen(differences, level) if tested else None,
            significance.excluded(differences) if tested else None,
        )
    return effects


def paired_differences(rows: Sequence[Row], variant: str, baseline: str, field: str) -> list[float]:
    """Return a variant's differences from the baseline in points, by seed."""
    return _subtract(_scores(rows, variant, field), _scores(rows, baseline, field))


def _scores(rows: Sequence[Row], variant: str, field: str) -> Scores:
    return {row.seed: 100 * getattr(row, field) for row in rows if row.variant == variant}


def _subtract(first: Scores, second: Scores) -> list[float]:
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def _mean(points: Iterable[float], low: float = 0.0, high: float = 100.0) -> significance.Estimate:
    return significance.mean(list(points), low, high)


def correct(p_values: Mapping[T, float | None]) -> dict[T, float]:
    """Correct p-values by Holm's method, without those that are None."""
    known = {key: p for key, p in p_values.items() if p is not None}
    return dict(zip(known, significance.holm(list(known.values())), strict=True))


def describe(effects: Effects, variant: str, strength: str | None = None) -> str:
    """Describe an effect: "dropout (dropout 0.5): gap −6.1 points [−6.8, −5.4], …"."""
    (_, on_gap), (measure, on_score), _ = effects.items()
    gap, score, name = on_gap[variant], on_score[variant], show_measure(measure)
    if gap.difference is None or score.difference is None:
        return f"{variant}: no seed in common with the baseline."
    text = (
        f"{variant}{f' ({strength})' if strength else ''}: "
        f"gap {significance.show(gap.difference, '+', ' points')}, {name} "
        f"{significance.show(score.difference, '+')}, n = {gap.difference.n}. "
    )
    if gap.difference.n < significance.MIN_PAIRS:
        return text + "Too few seeds to tell."
    verbs = {
        "the gap": (gap, "narrows" if gap.difference.mean < 0 else "widens"),
        name: (score, "gains" if score.difference.mean > 0 else "loses"),
    }
    found = " and ".join(f"{verb} {where}" for where, (effect, verb) in verbs.items() if effect.is_real)
    rest = [_describe_unseen(where, effect) for where, (effect, _) in verbs.items() if not effect.is_real]
    return text + " ".join([f"It {found}."] * bool(found) + rest)


def _describe_unseen(where: str, effect: Effect) -> str:
    limit = significance.show_bound(effect.excluded)
    return f"No effect on {where} is told from 0{f'; one above {limit} points is excluded' if limit else ''}."


def group_sweeps(effects: Effects, swept: Mapping[str, str]) -> Sweeps:
    """Group the variants of sweeps by parameter, name and value, in order."""
    sweeps: Sweeps = {}
    for variant in effects[GAP]:
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
            if scores := _scores(rows, variant, "validation"):
                sizes.setdefault(n, {})[name] = scores
    ranked = {n: sorted(sizes[n].items(), key=lambda item: -_mean(item[1].values()).mean) for n in sorted(sizes)}
    choices = _choices({n: ranking for n, ranking in ranked.items() if len(ranking) > 1}, rows, lines)
    best = {n: ranking[0][1] for n, ranking in ranked.items()}
    return [*choices, *_outlook(best, rows[0].score.replace("_", " "))] if choices else []


def _show_time(rows: Sequence[Row], variant: str) -> str:
    known = [row.seconds for row in rows if row.variant == variant and row.seconds is not None]
    return f"{median(known):,.0f} s" if known else "time not recorded"


def _choices(
    ranked: Mapping[float, Sequence[tuple[str, Scores]]], rows: Sequence[Row], lines: Mapping[str, Mapping[float, str]]
) -> list[str]:
    """Compare the best two of each size by corrected paired t-tests."""
    gains = {n: _subtract(best[1], second[1]) for n, (best, second, *_) in ranked.items()}
    corrected = correct({n: significance.paired_p_value(gained) for n, gained in gains.items()})
    choices, measure = [], show_measure(list(measures(rows))[1])
    for n, ((best, scores), (second, _), *_) in ranked.items():
        values = significance.show(_mean(scores.values()))
        gained = gains[n]  # none where no seed of both has ended
        ahead = f", {significance.show(_mean(gained, -100.0), '+', ' points')} over {second}" if gained else ""
        is_real = corrected.get(n, 1.0) < significance.REAL
        times = ", ".join(f"{name} {_show_time(rows, lines[name][n])}" for name in (best, second))
        faster = f"{best} is not told from {second}, so choose what trains faster ({times})"
        choice = f"choose {best}" if is_real else faster
        choices.append(f"With {n:,.0f} images {choice}: {measure} {values} %{ahead}.")
    return choices


def _outlook(best: Mapping[float, Scores], score: str) -> list[str]:
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
        f"{last - doubled:.1f} points of {score} for twice the images."
    ]
