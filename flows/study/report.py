"""What a study found: a row per run, a table and a sentence per technique, and figures.

Decisions are made on validation; the test accuracies stand at the end, shown once. Gaps and accuracies are in points,
which are hundredths.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.results.tables import table
from flows.study import learning_curve
from tasks.metrics import significance
from tasks.reporting import study_figures, templates

COLUMNS = (
    "variant",
    "seed",
    "epochs",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "generalization_gap",
    "experiment",
)
MEASURES = {"generalization_gap": "gap", "validation_accuracy": "validation accuracy"}
GAP = "The gap is training less validation accuracy, in points, which are hundredths."
HOW_SURE = (
    "Brackets hold 95 % intervals by Student's t over seeds; differences are paired, as a seed gives every variant the "
    "same split and the same order of images. P-values are of paired t-tests, corrected for the number of variants by "
    "Holm's method, for each measure by itself, which holds whatever the tests' dependence; below 0.05 a difference is "
    "called real. The intervals are not corrected. One seed per run drives everything that is random in it. A variant "
    "with early stopping picks its epoch on the validation images that it is then judged on, which favours it a little."
)


@dataclass(frozen=True)
class Row:
    """One run of the study, and its learning curves by epoch."""

    variant: str
    seed: int
    epochs: int
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    generalization_gap: float
    experiment: str
    gaps: tuple[float, ...]
    validation_accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Effect:
    """A variant's measure and its difference from the baseline, over seeds."""

    value: significance.Estimate
    difference: significance.Estimate | None  # None for the baseline itself
    p: float | None  # corrected

    @property
    def is_real(self) -> bool:
        return self.p is not None and self.p < significance.REAL


Findings = dict[str, dict[str, Effect]]  # measure → variant → effect
Sweeps = dict[str, dict[str, dict[float, str]]]  # parameter → variant's name → value → variant


def analyse(rows: Sequence[Row], baseline_name: str) -> Findings:
    """Every measure of every variant against the baseline."""
    variants = list(dict.fromkeys([baseline_name, *(row.variant for row in rows)]))
    found: Findings = {}
    for measure in (*MEASURES, "test_accuracy"):
        values = {
            variant: {row.seed: 100 * getattr(row, measure) for row in rows if row.variant == variant}
            for variant in variants
        }
        baseline = values[variants[0]]
        differences: dict[str, significance.Estimate] = {}
        raw: dict[str, float] = {}
        for variant in variants[1:]:
            seeds = sorted(values[variant].keys() & baseline.keys())
            if seeds:
                pair = [values[variant][seed] for seed in seeds], [baseline[seed] for seed in seeds]
                differences[variant] = significance.mean([new - old for new, old in zip(*pair, strict=True)])
                p = significance.paired_p_value(*pair) if measure in MEASURES else None
                if p is not None:
                    raw[variant] = p
        corrected = dict(zip(raw, significance.holm(list(raw.values())), strict=True)) if raw else {}
        found[measure] = {
            variant: Effect(
                significance.mean(list(values[variant].values())), differences.get(variant), corrected.get(variant)
            )
            for variant in variants
        }
    return found


def write(
    folder: Path,
    rows: Sequence[Row],
    baseline: str,
    settings: dict[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    strengths: Mapping[str, str] | None = None,
    swept: Mapping[str, str] | None = None,
) -> str:
    """Write study.csv, study.md, study.html and the figures; the tables as Markdown.

    Parameters
    ----------
    baseline : str
        The variant that the others are compared with.
    settings : dict, optional
        Parameters that were set for all runs, to be named.
    failures : dict, optional
        What became of the runs that failed, by the experiment's name: they are missing from the tables.
    strengths : dict, optional
        What each variant sets, such as {"dropout": "dropout 0.5"}, for the sentences.
    swept : dict, optional
        The parameter of which a variant has one value, such as {"l2_strength=0.1": "regularize.l2"}.

    Raises
    ------
    RuntimeError
        If no run of the baseline has finished.
    """
    if not any(row.variant == baseline for row in rows):
        raise RuntimeError(f"a study needs a finished run of its baseline, {baseline}; the log says why there is none")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink(missing_ok=True)
    with (folder / "study.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    found = analyse(rows, baseline)
    sweeps = group_sweeps(found, swept or {})
    drawn = drawings(rows, found, sweeps)
    for name, drawing in drawn.items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    headers, effect_rows, test_rows = tables(found)
    sentences = [
        *learning_curve.sentences(rows, sweeps.get(learning_curve.PARAMETER, {})),
        *(sentence(found, name, (strengths or {}).get(name)) for name in list(found["generalization_gap"])[1:]),
    ]
    lost = [f"{name} failed, and is not in these tables: {why}" for name, why in (failures or {}).items()]
    given = "".join(f"; {key} = {value}" for key, value in (settings or {}).items())
    text = "\n".join(
        [
            *table(headers[0], effect_rows),
            "",
            *(f"- {line}" for line in [*sentences, *lost]),
            "",
            HOW_SURE,
            "",
            "Test accuracy, which decided nothing:",
            "",
            *table(headers[1], test_rows),
        ]
    )
    (folder / "study.md").write_text(f"# Each variant against {baseline}{given}\n\n{GAP}\n\n{text}\n", encoding="utf-8")
    html = templates.render_template(
        "study.html",
        baseline=baseline + given,
        seeds=len({row.seed for row in rows}),
        runs=len(rows),
        headers=headers,
        effect_rows=effect_rows,
        test_rows=test_rows,
        sentences=[*sentences, *lost],
        figures=drawn,
        how_sure=HOW_SURE,
    )
    (folder / "study.html").write_text(html, encoding="utf-8")
    return text


def tables(found: Findings) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], list[Any], list[Any]]:
    """The headers and the cells of the effects' table and of test accuracy."""
    header = ["variant", "n"]
    for name in MEASURES.values():
        header += [name, "difference", "p"]
    rows = []
    for variant, first in found["generalization_gap"].items():
        cells = [variant, str(first.value.n)]
        for measure in MEASURES:
            effect = found[measure][variant]
            cells += [significance.show(effect.value), significance.show(effect.difference, "+"), _p(effect.p)]
        rows.append(tuple(cells))
    tests = [
        (variant, str(effect.value.n), significance.show(effect.value), significance.show(effect.difference, "+"))
        for variant, effect in found["test_accuracy"].items()
    ]
    return (tuple(header), ("variant", "n", "test accuracy", "difference")), rows, tests


def sentence(found: Findings, variant: str, strength: str | None = None) -> str:
    """What a technique was found to do: "dropout (dropout 0.5): gap −6.1 points [−6.8, −5.4], …"."""
    gap, accuracy = (found[measure][variant] for measure in MEASURES)
    if gap.difference is None or accuracy.difference is None:
        return f"{variant}: no seed in common with the baseline."
    said = (
        f"{variant}{f' ({strength})' if strength else ''}: "
        f"gap {significance.show(gap.difference, '+', ' points')}, validation accuracy "
        f"{significance.show(accuracy.difference, '+')}, n = {gap.difference.n}. "
    )
    if gap.difference.n < significance.MIN_PAIRS:
        return said + "Too few seeds to tell."
    narrows = "narrows the gap" if gap.difference.mean < 0 else "widens the gap"
    gains = "gains validation accuracy" if accuracy.difference.mean > 0 else "loses validation accuracy"
    return (
        said
        + {
            (True, True): f"It {narrows} and {gains}.",
            (True, False): f"It {narrows}; its effect on validation accuracy is not told from noise.",
            (False, True): f"It {gains}; its effect on the gap is not told from noise.",
            (False, False): "Its effect on the gap is not told from noise.",
        }[gap.is_real, accuracy.is_real]
    )


def group_sweeps(found: Findings, swept: Mapping[str, str]) -> Sweeps:
    """Group the variants of sweeps: parameter → variant's name → value → variant, in the order of values."""
    sweeps: Sweeps = {}
    for variant in found["generalization_gap"]:
        name, _, value = variant.rpartition("=")
        if variant in swept and _is_number(value):
            sweeps.setdefault(swept[variant], {}).setdefault(name, {})[float(value)] = variant
    return {
        parameter: {name: dict(sorted(points.items())) for name, points in lines.items()}
        for parameter, lines in sweeps.items()
    }


def drawings(rows: Sequence[Row], found: Findings, sweeps: Sweeps) -> dict[str, str]:
    """The figures by name: effects, learning curves, and one for each parameter that is swept over."""
    gap, accuracy = (found[measure] for measure in MEASURES)
    curves = {
        variant: [(row.gaps, row.validation_accuracies) for row in rows if row.variant == variant] for variant in gap
    }
    drawn = {
        "effects": study_figures.effects(
            {variant: (gap[variant].value, accuracy[variant].value) for variant in gap},
            {variant: (gap[variant].difference, accuracy[variant].difference) for variant in gap},
        ),
        "curves": study_figures.curves(curves),
    }
    for parameter, lines in sweeps.items():
        estimates = {
            name: {value: (gap[variant].value, accuracy[variant].value) for value, variant in points.items()}
            for name, points in lines.items()
        }
        drawn[f"sweep-{parameter}"] = study_figures.sweep(parameter, estimates)
    return drawn


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
