"""The page that people read, from an evaluation and its results."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.exporting.usage import keras_lines
from tasks.metrics import calibration
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES
from tasks.reporting import headline, sentences
from tasks.reporting.evaluation import Evaluation, Leak
from tasks.reporting.gallery import N_CLASSES, Picture, examples, mistakes, picture
from tasks.reporting.results import CALIBRATION_SCORES, Results
from tasks.reporting.templates import render_template

N_ISSUES = 24  # doubtful labels that are shown
N_PAIRS = 12  # of leaks, and of conflicts
N_UNREADABLE = 10


def render_page(evaluation: Evaluation, results: Results, svgs: Mapping[str, str]) -> str:
    """Render the page as HTML; `svgs` are the figures by name."""
    leaks = {(leak.split, leak.row): leak for leak in reversed(evaluation.findings.leaks)}  # each image once
    labels = list(range(len(evaluation.class_names)))
    if len(labels) > N_CLASSES:
        labels = [evaluation.class_names.index(row.name) for row in results.ranked[:N_CLASSES]]
    return render_template(
        "page.html",
        title=headline.page_title(evaluation, results),
        headline=headline.headline(evaluation, results),
        notes=headline.notes(evaluation, results),
        doubts=sentences.describe_doubts(results.primary.value, results.baseline.value),
        sentences=sentences,
        evaluation=evaluation,
        results=results,
        n_test=len(evaluation.files["test"]),
        primary_title=SCORES[evaluation.primary_metric].title,
        registry=SCORES,
        classes=sorted(results.classes, key=lambda row: -row.f1),
        many_classes=MANY_CLASSES,
        calibration_scores=CALIBRATION_SCORES,
        n_bins=calibration.BINS,
        figures=svgs,
        mistakes=mistakes(evaluation),
        examples=examples(evaluation, labels),
        issues=[(issue, picture(evaluation, issue.split, issue.row)) for issue in results.label_issues[:N_ISSUES]],
        leaks=_show_pairs(evaluation, (leak for _, leak in sorted(leaks.items())[:N_PAIRS])),
        close=_show_pairs(evaluation, evaluation.findings.close),
        conflicts=_show_conflicts(evaluation),
        n_conflicts=N_PAIRS,
        n_unreadable=N_UNREADABLE,
        parameters=dict(_flatten(evaluation.parameters)),
        usage=keras_lines(evaluation.about.fit, evaluation.parameters["evaluate"]["test_time_augmentation"]),
    )


def _show_pairs(evaluation: Evaluation, pairs: Iterable[Leak]) -> list[tuple[Leak, Picture, Picture]]:
    return [(p, picture(evaluation, p.split, p.row), picture(evaluation, "train", p.train_row)) for p in pairs]


def _show_conflicts(evaluation: Evaluation) -> list[tuple[str, str, str, list[Picture]]]:
    """Show files of one picture; those in no split have no image."""
    places = {file: (split, row) for split, files in evaluation.files.items() for row, file in enumerate(files)}
    return [
        (file, other, labels, [picture(evaluation, *places[name]) for name in (file, other) if name in places])
        for file, other, labels in evaluation.findings.conflicts[:N_PAIRS]
    ]


def _flatten(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List parameters by dotted key, each value as params.yaml spells it."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
