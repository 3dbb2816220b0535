"""The report of a study: rows, tables, sentences, figures and a page.

Decisions are made on validation. Gaps and accuracies are in points, which are hundredths.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from flows.results.tables import table
from flows.study.effects import Effects, Sweeps, analyse, describe, describe_learning_curve, group_sweeps, show_measure
from flows.study.host_report import write_hosts
from flows.study.kept import Context, read_study, write_study
from flows.study.results import GAP, Row
from tasks.metrics.significance import MIN_PAIRS, Estimate, show, show_bound
from tasks.reporting import study_figures, templates

SUMMARY_HEADER = (
    "variant", "measure", "n", "mean", "low", "high", "difference", "difference_low", "difference_high", "p",
    "could_have_seen", "excluded",
)  # fmt: skip
GAP_NOTE = "The gap is training less {}, in points, which are hundredths."
METHODS_NOTE = (
    "Brackets hold 95 % intervals by Student's t over seeds; differences are paired, as a seed gives every variant the "
    "same split and the same order of images. P-values are of paired t-tests, corrected for the number of variants by "
    "Holm's method, for each measure by itself, which holds whatever the tests' dependence; below 0.05 a difference is "
    "called real. The intervals are not corrected. One seed per run drives everything that is random in it. A variant "
    "with early stopping picks its epoch on the validation images that it is then judged on, which favours it a little."
)
POWER_NOTE = (
    "Could have seen: the size of an effect, in points, that so many seeds find with 80 % power at the strictest level "
    "of Holm's method, 0.05 divided by the number of variants. It rests on the spread of these seeds, and allows for "
    "the uncertainty of that. Excluded: effects above this size, in points, by two one-sided tests at 2.5 % each, of "
    "each variant by itself."
)

TWO_SEEDS = (
    "Two seeds tell little: an interval of two values reaches 12.7 standard errors to each side, and is cut where an "
    f"accuracy ends; differences are tested from {MIN_PAIRS} seeds on."
)


def write_report(folder: Path, rows: Sequence[Row], baseline: str, context: Context | None = None) -> str:
    """Write all files of a report but machines.md; return the tables."""
    if not any(row.variant == baseline for row in rows):
        raise RuntimeError(f"a study needs a finished run of its baseline, {baseline}; the log says why there is none")
    context = context or Context()
    effects = analyse(rows, baseline)
    sweeps = group_sweeps(effects, context.swept)
    sentences = [
        *describe_learning_curve(rows, sweeps.get("normalize.train_images", {})),
        *(describe(effects, name, context.strengths.get(name)) for name in list(effects[GAP])[1:]),
        *_count_trainings(rows),
        *(f"{name} failed, and is not in these tables: {reason}" for name, reason in context.failures.items()),
    ]
    if any(effect.value.n == 2 for effect in effects[GAP].values()):
        sentences.append(TWO_SEEDS)
    title = baseline + "".join(f"; {key} = {value}" for key, value in context.settings.items())
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, rows, baseline, context)
    _write_summary(folder / "summary.csv", effects)
    figures = _write_figures(folder, rows, effects, sweeps)
    tables = _tables(effects)
    _, validation, test = map(show_measure, effects)
    text = _markdown({name: table(*content) for name, content in tables.items()}, sentences, test)
    note = GAP_NOTE.format(validation)
    (folder / "study.md").write_text(f"# Each variant against {title}\n\n{note}\n\n{text}\n", encoding="utf-8")
    html = templates.render_template(
        "study.html",
        question=context.question,
        baseline=title,
        seeds=len({row.seed for row in rows}),
        runs=len(rows),
        score=rows[0].score.replace("_", " "),
        test=test,
        tables=tables,
        sentences=sentences,
        figures=figures,
        how_sure=METHODS_NOTE,
        power=POWER_NOTE,
    )
    (folder / "study.html").write_text(html, encoding="utf-8")
    return text


def _count_trainings(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.trainings > 1 for row in rows):
        n = sum(row.trainings for row in rows)
        yield f"These runs were {n:,} trainings: with folds, one for each, and one of all images."


def write_again(folder: Path) -> str:
    """Write a report from what its folder holds; return the tables."""
    rows, baseline, context = read_study(folder)
    text = write_report(folder, rows, baseline, context)
    if any(row.machine != Row.machine for row in rows):  # earlier versions kept no machines
        write_hosts(folder, rows)
    return text


def _write_summary(path: Path, effects: Effects) -> None:
    """Write a row for each variant and measure, in points."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SUMMARY_HEADER)
        for measure, found in effects.items():
            for variant, one in found.items():
                numbers = [end for value in (one.value, one.difference) for end in _ends(value)]
                numbers += [one.p, one.could_have_seen, one.excluded]
                cells = ("" if number is None else f"{number:.6g}" for number in numbers)
                writer.writerow([variant, measure, one.value.n, *cells])


def _ends(value: Estimate | None) -> list[float | None]:
    return [value.mean, value.low, value.high] if value else [None] * 3


def _markdown(tables: Mapping[str, Sequence[str]], sentences: Sequence[str], test: str) -> str:
    lines = [
        *tables["found"],
        "",
        *(f"- {sentence}" for sentence in sentences),
        "",
        METHODS_NOTE,
        "",
        "What these seeds could have seen:",
        "",
        *tables["seen"],
        "",
        POWER_NOTE,
        "",
        f"{test.capitalize()}, which decided nothing:",
        "",
        *tables["test"],
    ]
    return "\n".join(lines)


def _tables(effects: Effects) -> dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Make the header and the rows of each table."""
    *names, test = map(show_measure, effects)
    *judged, tested = effects.values()
    found, seen = [], []
    for variant, effect in judged[0].items():
        both = [measure[variant] for measure in judged]
        cells = ((show(one.value), show(one.difference, "+"), _show_p(one.p)) for one in both)
        found.append((variant, str(effect.value.n), *chain(*cells)))
        bounds = ((show_bound(one.could_have_seen), show_bound(one.excluded)) for one in both)
        if effect.difference:
            seen.append((variant, str(effect.difference.n), *chain(*bounds)))
    last: list[tuple[str, ...]] = [
        (name, str(one.value.n), show(one.value), show(one.difference, "+")) for name, one in tested.items()
    ]
    return {
        "found": (("variant", "n", *chain(*((name, "difference", "p") for name in names))), found),
        "seen": (("variant", "n", *chain(*((f"{name}: could have seen", "excluded") for name in names))), seen),
        "test": (("variant", "n", test, "difference"), last),
    }


def _show_p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _write_figures(folder: Path, rows: Sequence[Row], effects: Effects, sweeps: Sweeps) -> dict[str, str]:
    """Write the figures; learning curves that are unknown stay as drawn."""
    figures = _draw_figures(rows, effects, sweeps)
    if not figures["curves"] and (drawn := folder / "curves.svg").exists():
        figures["curves"] = drawn.read_text(encoding="utf-8")
    for old in folder.glob("*.svg"):
        old.unlink(missing_ok=True)
    for name, drawing in figures.items():
        if drawing:
            (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    return figures


def _draw_figures(rows: Sequence[Row], effects: Effects, sweeps: Sweeps) -> dict[str, str]:
    """Draw the effects, the learning curves, and each sweep."""
    (_, gap), (measure, score), _ = effects.items()
    name = show_measure(measure)
    curves = {
        variant: [(row.gaps, row.validation_accuracies) for row in rows if row.variant == variant] for variant in gap
    }
    figures = {
        "effects": study_figures.effects(
            {variant: (gap[variant].value, score[variant].value) for variant in gap},
            {variant: (gap[variant].difference, score[variant].difference) for variant in gap},
            name,
        ),
        "curves": study_figures.curves(curves) if all(row.gaps for row in rows) else "",
    }
    for parameter, lines in sweeps.items():
        if len({value for points in lines.values() for value in points}) < 2:
            continue  # a point is no curve
        estimates = {
            line: {value: (gap[variant].value, score[variant].value) for value, variant in points.items()}
            for line, points in lines.items()
        }
        figures[f"sweep-{parameter}"] = study_figures.sweep(parameter, estimates, name)
    return figures
