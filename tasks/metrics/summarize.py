"""The metrics: the few numbers that stay comparable between commits, in `reports/metrics.json`.

A study reads them of each of its trials, so nothing else is computed here: the report has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.metrics import primary, scores
from tasks.metrics.primary import Predicted

OF_EACH_SPLIT = ("accuracy", "loss")
MANY_CLASSES = 30  # with more, none has a metric of its own


def summarize(predictions: Mapping[str, Predicted], class_names: Sequence[str], name: str) -> dict[str, Any]:
    """Compute the metrics from the predictions on each split.

    Of each split, accuracy, loss and, where it is another score, the headline; F1 of each class, unless there are
    more than MANY_CLASSES: each is a column of `dvc exp show`.

    Parameters
    ----------
    predictions : mapping of str to Predicted
        By split: train, validation where there is one, test.
    class_names : sequence of str
    name : str
        Of the headline, a score of `scores.OF_COUNTS`.
    """
    names = dict.fromkeys((*OF_EACH_SPLIT, name))
    summary: dict[str, Any] = {
        split: {score: scores.SCORES[score].compute(*predicted) for score in names}
        for split, predicted in predictions.items()
    }
    if "validation" in predictions:
        summary["generalization_gap"] = primary.gap_value(name, predictions["train"], predictions["validation"])
    if len(class_names) <= MANY_CLASSES:
        summary["f1"] = {row.name: row.f1 for row in scores.per_class(*predictions["test"], class_names)}
    return summary
