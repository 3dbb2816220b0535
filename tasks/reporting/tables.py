"""The tables of an evaluation's report as JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.metrics.primary import Predicted
from tasks.metrics.rounding import rounded, to_json
from tasks.metrics.scores import ClassScores, classification_report
from tasks.reporting.leaks import Leak
from tasks.reporting.results import Evaluation, Results


def detail_tables(evaluation: Evaluation, results: Results, views: str) -> dict[str, str]:
    """Write every table of the report: file name → text.

    Parameters
    ----------
    views : {"none", "mirror", "mirror_and_shift"}
        Those of an image that the model's logits are averaged over, which calibration.json tells whoever uses the
        model.
    """
    names, test = list(evaluation.class_names), evaluation.predictions["test"]
    calibration = {"classes": names, "temperature": results.temperature, "test_time_augmentation": views}
    return {
        "classification_report.txt": classification_report(test.y_true, test.y_prob, names),
        "scores.json": to_json(_scores(evaluation, results)),
        "calibration.json": json.dumps(calibration, indent=2) + "\n",  # a rounded temperature would move predictions
        "per_class.csv": _per_class(results),
        "confusion.csv": _confusion(names, results),
        "labels.csv": _labels(names, test),
        "predictions.csv": _predictions(names, test, evaluation.files["test"]),
        "label_issues.csv": _label_issues(evaluation, results),
    }


def _scores(evaluation: Evaluation, results: Results) -> dict[str, Any]:
    ends = {evaluation.headline: results.headline.interval}
    if results.gap is not None:
        ends["generalization_gap"] = results.gap.interval
    return {
        "headline": evaluation.headline,
        "splits": results.scores,
        "gap": results.gap.value if results.gap is not None else None,
        "intervals": ends,
        "leak": _leak(results.leak),
        "classes": [_class_row(row) for row in results.classes],
        "confused": [
            {"true": pair.true, "predicted": pair.predicted, "count": pair.count, "of": pair.support}
            for pair in results.confused
        ],
        "temperature": results.temperature,
        "calibration": results.calibration,
    }


def _leak(leak: Leak | None) -> dict[str, Any] | None:
    """The headline on test with and without the images that have a twin in training."""
    if leak is None:
        return None
    return {
        "images": leak.counts,
        "with": leak.on_all,
        "without": leak.on_others,
        "worth": leak.worth and leak.worth.value,
        "interval": leak.worth and leak.worth.interval,
    }


def _class_row(row: ClassScores) -> dict[str, Any]:
    return {
        "class": row.name,
        "precision": row.precision,
        "recall": row.recall,
        "f1": row.f1,
        "support": row.support,
    }


def _per_class(results: Results) -> str:
    rows = [rounded(_class_row(row)) for row in results.classes]
    return _csv([list(rows[0]), *(list(row.values()) for row in rows)])


def _confusion(names: list[str], results: Results) -> str:
    rows = ([name, *counts] for name, counts in zip(names, results.confusion_matrix, strict=True))
    return _csv([["true \\ predicted", *names], *rows])


def _labels(names: list[str], test: Predicted) -> str:
    """List label and prediction of each image, which `dvc plots` counts."""
    pairs = zip(test.y_true, test.y_prob.argmax(axis=1), strict=True)
    return _csv([["actual", "predicted"], *([names[label], names[predicted]] for label, predicted in pairs)])


def _predictions(names: list[str], test: Predicted, files: Sequence[str]) -> str:
    rows = zip(files, test.y_true, test.y_prob.argmax(axis=1), test.y_prob.max(axis=1).tolist(), strict=True)
    header = ["file", "label", "predicted", "probability"]
    return _csv([header, *([file, names[label], names[said], rounded(p)] for file, label, said, p in rows)])


def _label_issues(evaluation: Evaluation, results: Results) -> str:
    header = ["split", "file", "label", "suggested", "probability_of_label", "probability_of_suggested", "score"]
    names, files = evaluation.class_names, evaluation.files
    rows = (
        [split, files[split][row], names[label], names[suggested], *rounded(numbers)]
        for split, row, label, suggested, *numbers in results.label_issues
    )
    return _csv([header, *rows])


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
