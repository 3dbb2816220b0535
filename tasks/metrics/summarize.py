"""The metrics: the few rounded numbers of `reports/metrics.json`, comparable between commits.

A study reads them of each of its trials, so nothing else is computed here: the report has the rest.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.metrics.class_counts import per_class
from tasks.metrics.predictions import Predicted
from tasks.metrics.scores import SCORES

MANY_CLASSES = 30  # with more, results do not list every class
DIGITS = 6


def summarize(predictions: Mapping[str, Predicted], class_names: Sequence[str], primary_metric: str) -> dict[str, Any]:
    """Compute the metrics from the predictions on each split.

    F1 of each class is left out for more than MANY_CLASSES, as each number is a column of `dvc exp show`.
    """
    names = dict.fromkeys(("accuracy", "loss", primary_metric))
    summary: dict[str, Any] = {
        split: {name: SCORES[name].compute(*predicted) for name in names} for split, predicted in predictions.items()
    }
    if "validation" in predictions:
        train, validation = (summary[split][primary_metric] for split in ("train", "validation"))
        summary["generalization_gap"] = train - validation
    if len(class_names) <= MANY_CLASSES:
        summary["f1"] = {row.name: row.f1 for row in per_class(*predictions["test"], class_names)}
    return summary


def to_json(content: Mapping[str, Any]) -> str:
    """Write numbers as indented JSON, rounded."""
    return json.dumps(rounded(content), indent=2, ensure_ascii=False) + "\n"


def rounded(value: Any) -> Any:
    """Round a number, or all numbers in mappings and lists."""
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value
