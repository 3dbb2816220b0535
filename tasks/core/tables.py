"""The tables of an evaluation's report as JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.core.report import Evaluation, Results, SplitPredictions
from tasks.core.scores import ClassScores, classification_report

DIGITS = 6  # of every number but the temperature in calibration.json


def detail_tables(evaluation: Evaluation, results: Results, mirror: bool) -> dict[str, str]:
    """Write every table of the report: file name → text.

    Parameters
    ----------
    mirror : bool
        Whether the model's logits are averaged with those of the mirror image, which calibration.json tells
        whoever uses the model.
    """
    names, test = list(evaluation.class_names), evaluation.predictions["test"]
    calibration = {"classes": names, "temperature": results.temperature, "mirror": mirror}
    return {
        "classification_report.txt": classification_report(test.y_true, test.y_prob, names),
        "scores.json": to_json(_scores(results)),
        "calibration.json": json.dumps(calibration, indent=2) + "\n",  # a rounded temperature would move predictions
        "per_class.csv": _per_class(results),
        "confusion.csv": _confusion(names, results),
        "labels.csv": _labels(names, test),
    }


def to_json(content: Mapping[str, Any]) -> str:
    """Write numbers as indented JSON, rounded."""
    return json.dumps(_rounded(content), indent=2, ensure_ascii=False) + "\n"


def _scores(results: Results) -> dict[str, Any]:
    ends = {"accuracy": results.accuracy_interval}
    if results.gap is not None:
        ends["generalization_gap"] = results.gap.interval
    return {
        "splits": results.scores,
        "gap": results.gap.value if results.gap is not None else None,
        "intervals": ends,
        "classes": [_class_row(row) for row in results.classes],
        "confused": [
            {"true": pair.true, "predicted": pair.predicted, "count": pair.count, "of": pair.support}
            for pair in results.confused
        ],
        "temperature": results.temperature,
        "calibration": results.calibration,
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
    rows = [_rounded(_class_row(row)) for row in results.classes]
    return _csv([list(rows[0]), *(list(row.values()) for row in rows)])


def _confusion(names: list[str], results: Results) -> str:
    rows = ([name, *counts] for name, counts in zip(names, results.confusion_matrix, strict=True))
    return _csv([["true \\ predicted", *names], *rows])


def _labels(names: list[str], test: SplitPredictions) -> str:
    """List label and prediction of each image, which `dvc plots` counts."""
    pairs = zip(test.y_true, test.y_prob.argmax(axis=1), strict=True)
    return _csv([["actual", "predicted"], *([names[label], names[predicted]] for label, predicted in pairs)])


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value
