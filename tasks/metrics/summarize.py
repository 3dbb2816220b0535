"""The metrics: the few rounded numbers of `reports/metrics.json`, comparable between commits.

A study reads them of each of its trials, so nothing else is computed here: the report has the rest.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.metrics.class_counts import per_class
from tasks.metrics.predictions import Groups, Predicted
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


def describe_folds(shape: tuple[int, ...], groups: Groups, n_test: int) -> dict[str, dict[str, int]]:
    """Count the images of the folds, and of the published model.

    `shape` is that of the plan, (n_train, n_folds); `groups` are of the images that folds hold out. `n_test` images of
    a given test split score the published model.
    """
    n_train, n_folds = shape
    n_groups = len(np.unique(groups))
    held_out = {"held_out": len(groups), "groups": n_groups, "never_held_out": n_train - len(groups)}
    published = {"train_images": n_train, "test_images": n_test}
    return {"folds": {"trainings": n_folds, **held_out}, "published": published}


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
