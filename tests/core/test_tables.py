"""The files of the report: their keys, their digits, and names that stay whole."""

from __future__ import annotations

import csv
import json
from io import StringIO

import numpy as np
import pytest

from tasks.core.report import Evaluation, compute_results
from tasks.core.tables import detail_tables
from tests.support.reports import evaluation


def tables(evaluation: Evaluation) -> dict[str, str]:
    results = compute_results(evaluation.class_names, evaluation.predictions)
    return detail_tables(evaluation, results, mirror=True)


def test_scores_json_keeps_its_keys_and_six_digits() -> None:
    scores = json.loads(tables(evaluation())["scores.json"])
    assert list(scores) == ["splits", "gap", "intervals", "classes", "confused", "temperature", "calibration"]
    assert list(scores["splits"]) == ["train", "validation", "test"]
    assert list(scores["intervals"]) == ["accuracy", "generalization_gap"]
    assert list(scores["classes"][0]) == ["class", "precision", "recall", "f1", "support"]
    assert list(scores["confused"][0]) == ["true", "predicted", "count", "of"]
    assert list(scores["calibration"]["as trained"]) == ["loss", "brier", "calibration_error"]
    assert scores["gap"] == round(scores["gap"], 6)


def test_without_validation_gap_and_temperature_are_null() -> None:
    scores = json.loads(tables(evaluation(validation=False))["scores.json"])
    assert (scores["gap"], scores["temperature"]) == (None, None)
    assert list(scores["intervals"]) == ["accuracy"]
    assert list(scores["calibration"]) == ["as trained"]


def test_the_calibration_holds_the_whole_temperature() -> None:
    made = evaluation()
    calibration = json.loads(tables(made)["calibration.json"])
    temperature = compute_results(made.class_names, made.predictions).temperature
    assert calibration == {"classes": made.class_names, "temperature": temperature, "mirror": True}
    assert temperature != pytest.approx(round(temperature or 0.0, 6), abs=1e-12)


def test_class_names_survive_csv() -> None:
    names = ["a,b", 'say "c"', "d\ne", "é"]
    made = evaluation(n=40, class_names=names)
    rows = list(csv.reader(StringIO(tables(made)["labels.csv"], newline="")))
    y_true, y_prob = made.predictions["test"]
    assert rows[0] == ["actual", "predicted"]
    assert rows[1:] == [[names[t], names[p]] for t, p in zip(y_true, y_prob.argmax(axis=1), strict=True)]
    assert [row[0] for row in csv.reader(StringIO(tables(made)["confusion.csv"], newline=""))][1:] == names
    assert np.sum([int(row["support"]) for row in csv.DictReader(StringIO(tables(made)["per_class.csv"]))]) == 40
