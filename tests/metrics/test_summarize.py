"""The metrics are the report's numbers, few and under stable keys."""

from typing import Any

import pytest

from tasks.metrics.summarize import summarize
from tasks.reporting.evaluation import Evaluation
from tasks.reporting.results import compute_results
from tests.support.reports import evaluation


def metrics(made: Evaluation) -> dict[str, Any]:
    return summarize(made.predictions, made.class_names, made.primary_metric)


def test_metrics_keep_few_and_stable_keys() -> None:
    summary = metrics(evaluation())
    assert list(summary) == ["train", "validation", "test", "generalization_gap", "f1"]
    assert all(list(summary[split]) == ["accuracy", "loss"] for split in ("train", "validation", "test"))
    assert list(metrics(evaluation(validation=False))) == ["train", "test", "f1"]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_the_metrics_are_the_numbers_of_the_report(name: str) -> None:
    made = evaluation(primary_metric=name)
    results, summary = compute_results(made), metrics(made)
    assert results.gap is not None
    assert summary["generalization_gap"] == results.gap.value
    assert summary["f1"] == {row.name: row.f1 for row in results.classes}
    for split, values in results.scores.items():
        assert summary[split] == {key: values[key] for key in ("accuracy", "loss", name)}


def test_of_many_classes_none_has_a_metric_of_its_own() -> None:
    assert "f1" not in metrics(evaluation(n=400, n_classes=40))
