"""The report of a study: rows, tables, sentences, figures and a page.

Decisions are made on validation. Gaps and accuracies are in points, which are hundredths.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.results.tables import table
from flows.study.effects import MEASURES, Effects, Sweeps, analyse, describe, describe_learning_curve, group_sweeps
from flows.study.results import Row
from tasks.metrics import significance
from tasks.reporting import study_figures, templates

COLUMNS = tuple(Row.__dataclass_fields__)[:-4]  # without learning curves, machines and times
EFFECT_HEADER = ("variant", "n", *(cell for name in MEASURES.values() for cell in (name, "difference", "p")))
TEST_HEADER = ("variant", "n", "test accuracy", "difference")
GAP_NOTE = "The gap is training less validation accuracy, in points, which are hundredths."
METHODS_NOTE = (
    "Brackets hold 95 % intervals by Student's t over seeds; differences are paired, as a seed gives every variant the "
    "same split and the same order of images. P-values are of paired t-tests, corrected for the number of variants by "
    "Holm's method, for each measure by itself, which holds whatever the tests' dependence; below 0.05 a difference is "
    "called real. The intervals are not corrected. One seed per run drives everything that is random in it. A variant "
    "with early stopping picks its epoch on the validation images that it is then judged on, which favours it a little."
)

TWO_SEEDS = (
    "Two seeds tell little: an interval of two values reaches 12.7 standard errors to each side, and is cut where an "
    f"accuracy ends; differences are tested from {significance.MIN_PAIRS} seeds on."
)


@dataclass(frozen=True)
class Context:
    """What a report names beside its runs."""

    question: str = "What does each variant change?"  # the title
    settings: Mapping[str, Any] = field(default_factory=dict)  # parameters that were set for all runs
    failures: Mapping[str, str] = field(default_factory=dict)  # experiment → why it is missing
    strengths: Mapping[str, str] = field(default_factory=dict)  # variant → what it sets, such as `dropout 0.5`
    swept: Mapping[str, str] = field(default_factory=dict)  # variant → the parameter of which it has one value


def write_report(folder: Path, rows: Sequence[Row], baseline: str, context: Context | None = None) -> str:
    """Write study.csv, study.md, study.html and figures; return the tables."""
    if not any(row.variant == baseline for row in rows):
        raise RuntimeError(f"a study needs a finished run of its baseline, {baseline}; the log says why there is none")
    context = context or Context()
    effects = analyse(rows, baseline)
    sweeps = group_sweeps(effects, context.swept)
    sentences = [
        *describe_learning_curve(rows, sweeps.get("normalize.train_images", {})),
        *(describe(effects, name, context.strengths.get(name)) for name in list(effects["generalization_gap"])[1:]),
        *(f"{name} failed, and is not in these tables: {reason}" for name, reason in context.failures.items()),
    ]
    title = baseline + "".join(f"; {key} = {value}" for key, value in context.settings.items())
    folder.mkdir(parents=True, exist_ok=True)
    _write_rows(folder / "study.csv", rows)
    for old in folder.glob("*.svg"):
        old.unlink(missing_ok=True)
    figures = _draw_figures(rows, effects, sweeps)
    for name, drawing in figures.items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    if any(effect.value.n == 2 for effect in effects["generalization_gap"].values()):
        sentences.append(TWO_SEEDS)
    text = _markdown(effects, sentences)
    (folder / "study.md").write_text(f"# Each variant against {title}\n\n{GAP_NOTE}\n\n{text}\n", encoding="utf-8")
    html = templates.render_template(
        "study.html",
        question=context.question,
        baseline=title,
        seeds=len({row.seed for row in rows}),
        runs=len(rows),
        headers=(EFFECT_HEADER, TEST_HEADER),
        effect_rows=_effect_rows(effects),
        test_rows=_test_rows(effects),
        sentences=sentences,
        figures=figures,
        how_sure=METHODS_NOTE,
    )
    (folder / "study.html").write_text(html, encoding="utf-8")
    return text


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)


def _markdown(effects: Effects, sentences: Sequence[str]) -> str:
    lines = [
        *table(EFFECT_HEADER, _effect_rows(effects)),
        "",
        *(f"- {sentence}" for sentence in sentences),
        "",
        METHODS_NOTE,
        "",
        "Test accuracy, which decided nothing:",
        "",
        *table(TEST_HEADER, _test_rows(effects)),
    ]
    return "\n".join(lines)


def _effect_rows(effects: Effects) -> list[tuple[str, ...]]:
    rows = []
    for variant, first in effects["generalization_gap"].items():
        cells = [variant, str(first.value.n)]
        for measure in MEASURES:
            effect = effects[measure][variant]
            cells += [significance.show(effect.value), significance.show(effect.difference, "+"), _show_p(effect.p)]
        rows.append(tuple(cells))
    return rows


def _test_rows(effects: Effects) -> list[tuple[str, ...]]:
    return [
        (variant, str(effect.value.n), significance.show(effect.value), significance.show(effect.difference, "+"))
        for variant, effect in effects["test_accuracy"].items()
    ]


def _show_p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _draw_figures(rows: Sequence[Row], effects: Effects, sweeps: Sweeps) -> dict[str, str]:
    """Draw the effects, the learning curves, and each sweep."""
    gap, accuracy = (effects[measure] for measure in MEASURES)
    curves = {
        variant: [(row.gaps, row.validation_accuracies) for row in rows if row.variant == variant] for variant in gap
    }
    figures = {
        "effects": study_figures.effects(
            {variant: (gap[variant].value, accuracy[variant].value) for variant in gap},
            {variant: (gap[variant].difference, accuracy[variant].difference) for variant in gap},
        ),
        "curves": study_figures.curves(curves),
    }
    for parameter, lines in sweeps.items():
        if len({value for points in lines.values() for value in points}) < 2:
            continue  # a point is no curve
        estimates = {
            name: {value: (gap[variant].value, accuracy[variant].value) for value, variant in points.items()}
            for name, points in lines.items()
        }
        figures[f"sweep-{parameter}"] = study_figures.sweep(parameter, estimates)
    return figures
