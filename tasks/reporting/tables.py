"""The tables of the report as JSON, CSV and text."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.metrics import classification_report

from tasks.metrics.class_counts import ClassScores
from tasks.metrics.summarize import rounded, to_json
from tasks.reporting import headline
from tasks.reporting.evaluation import Evaluation
from tasks.reporting.label_issues import LabelIssue
from tasks.reporting.results import Leakage, Results

LABEL_ISSUES = "split", "file", "label", "suggested", "probability_of_label", "probability_of_suggested", "score"
SECOND = "second_of_label", "second_of_suggested"


def detail_tables(evaluation: Evaluation, results: Results) -> dict[str, str]:
    """Write every table of the report: file name → text."""
    names, (y_true, y_prob) = list(evaluation.class_names), evaluation.calibrated["test"]
    y_pred, labels = y_prob.argmax(axis=1), np.arange(len(names))
    calibration = {
        **evaluation.about._replace(temperature=results.calibration.temperature)._asdict(),  # which `classify` reads
        "test_time_augmentation": evaluation.parameters["evaluate"]["test_time_augmentation"],
    }
    classes = [_class_row(row) for row in results.classes]
    named = [(names[true], names[predicted]) for true, predicted in zip(y_true, y_pred, strict=True)]
    probabilities = rounded(y_prob.max(axis=1).tolist())
    predictions = (
        (file, *pair, p) for file, pair, p in zip(evaluation.files["test"], named, probabilities, strict=True)
    )
    issue_columns = [*LABEL_ISSUES, *(SECOND if evaluation.second else ())]
    return {
        "classification_report.txt": classification_report(
            y_true, y_pred, labels=labels, target_names=names, digits=4, zero_division=0
        ),
        "notes.txt": headline.first_words(evaluation, results),
        "scores.json": to_json(_scores(evaluation, results)),
        "calibration.json": json.dumps(calibration, indent=2) + "\n",  # a rounded temperature would move predictions
        "per_class.csv": _csv(classes[0], (rounded(row).values() for row in classes)),
        "confusion.csv": _csv(
            ["true \\ predicted", *names],
            ([name, *counts] for name, counts in zip(names, results.confusion_matrix, strict=True)),
        ),
        "labels.csv": _csv(["actual", "predicted"], named),  # which `dvc plots` counts
        "predictions.csv": _csv(["file", "label", "predicted", "probability"], predictions),
        "label_issues.csv": _csv(
            issue_columns,
            (_issue_row(evaluation, issue)[: len(issue_columns)] for issue in results.label_issues),
        ),
    }


def _issue_row(evaluation: Evaluation, issue: LabelIssue) -> list[Any]:
    names, (split, row, label, suggested, *numbers) = evaluation.class_names, issue
    return [split, evaluation.files[split][row], names[label], names[suggested], *rounded(numbers)]


def _scores(evaluation: Evaluation, results: Results) -> dict[str, Any]:
    intervals = {evaluation.primary_metric: results.primary.interval}
    if results.gap is not None:
        intervals["generalization_gap"] = results.gap.interval
    return {
        "headline": evaluation.primary_metric,
        "splits": results.scores,
        "gap": results.gap and results.gap.value,
        "intervals": intervals,
        "leak": results.leakage and _leakage(results.leakage),
        "classes": [_class_row(row) for row in results.classes],
        "confused": results.confused,
        "temperature": results.calibration.temperature,
        "calibration": results.calibration.scores,
    }


def _leakage(leakage: Leakage) -> dict[str, Any]:
    inflation = leakage.inflation
    return {
        "images": leakage.counts,
        "with": leakage.score,
        "without": leakage.score_excluding,
        "worth": inflation and inflation.value,
        "interval": inflation and inflation.interval,
    }


def _class_row(row: ClassScores) -> dict[str, Any]:
    return {"class" if field == "name" else field: value for field, value in row._asdict().items()}


def _csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
