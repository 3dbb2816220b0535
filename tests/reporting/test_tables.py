"""The tables of the report: keys, digits and names."""

import csv
import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest

from tasks.reporting.evaluation import Evaluation, Findings, Leak
from tasks.reporting.gallery import picture
from tasks.reporting.results import compute_results
from tasks.reporting.tables import detail_tables
from tests.support.reports import evaluation, with_test


def tables(evaluation: Evaluation) -> dict[str, str]:
    results = compute_results(evaluation)
    return detail_tables(evaluation, results)


def test_scores_json_keeps_its_keys_and_six_digits() -> None:
    scores = json.loads(tables(evaluation())["scores.json"])
    assert list(scores) == [
        "headline", "splits", "gap", "intervals", "leak", "classes", "confused", "temperature", "calibration",
    ]  # fmt: skip
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
    made = evaluation(n=1000)
    calibration = json.loads(tables(made)["calibration.json"])
    temperature = compute_results(made).calibration.temperature
    assert calibration == {
        **made.about._asdict(),
        "temperature": temperature,
        "test_time_augmentation": "none",
    }
    assert temperature != pytest.approx(round(temperature or 0.0, 6), abs=1e-12)


def test_people_see_calibrated_probabilities() -> None:
    made = evaluation(n=1000)
    y_true, y_prob = made.calibrated["test"]
    assert np.abs(y_prob - made.predictions["test"].y_prob).max() > 0.05
    written = {name: list(csv.DictReader(StringIO(text))) for name, text in tables(made).items() if "csv" in name}
    shown = [float(row["probability"]) for row in written["predictions.csv"]]
    assert shown == pytest.approx(y_prob.max(axis=1), abs=1e-6)
    issue = next(row for row in written["label_issues.csv"] if row["split"] == "test")
    row = made.files["test"].index(issue["file"])
    assert float(issue["probability_of_label"]) == pytest.approx(y_prob[row, y_true[row]], abs=1e-6)
    assert float(issue["probability_of_suggested"]) == pytest.approx(y_prob[row].max(), abs=1e-6)
    assert picture(made, "test", row).confidence == pytest.approx(y_prob[row].max())


def test_names_survive_csv_in_the_order_of_the_images() -> None:
    names, files = ["a,b", 'say "c"', "d\ne", "é"], [f'x,"{n}".png' for n in range(40)]
    made = evaluation(n=40, class_names=names)
    made = replace(made, files={**made.files, "test": files})
    y_true, y_prob = made.predictions["test"]
    pairs = [[names[t], names[p]] for t, p in zip(y_true, y_prob.argmax(axis=1), strict=True)]
    read = {name: list(csv.reader(StringIO(text, newline=""))) for name, text in tables(made).items()}
    assert read["labels.csv"] == [["actual", "predicted"], *pairs]
    assert [row[0] for row in read["confusion.csv"]][1:] == names
    assert sum(int(row[-1]) for row in read["per_class.csv"][1:]) == 40
    assert read["predictions.csv"][0] == ["file", "label", "predicted", "probability"]
    assert [row[:3] for row in read["predictions.csv"][1:]] == [
        [file, *pair] for file, pair in zip(files, pairs, strict=True)
    ]
    assert "\r" not in tables(made)["predictions.csv"]


def test_label_issues_are_listed_worst_first_with_names() -> None:
    made = evaluation(skill=6.0)
    y_true, y_prob = made.predictions["test"]
    labels = y_true.copy()
    labels[[17, 30]] = (labels[[17, 30]] + 1) % 4
    rows = list(csv.DictReader(StringIO(tables(with_test(made, labels, y_prob))["label_issues.csv"])))
    found = {row["file"]: row for row in rows if row["split"] == "test"}
    assert {"test/17.png", "test/30.png"} <= set(found)
    assert (found["test/17.png"]["label"], found["test/17.png"]["suggested"]) == ("class 2", "class 1")
    assert [float(row["score"]) for row in rows] == sorted(float(row["score"]) for row in rows)


def test_scores_json_holds_the_inflation_by_leaks() -> None:
    assert json.loads(tables(evaluation())["scores.json"])["leak"] is None
    leaks = [Leak("test", row, row, "equal pixels") for row in range(50)]
    leak = json.loads(tables(evaluation(findings=Findings(leaks, [], [])))["scores.json"])["leak"]
    assert leak["images"] == {"validation": 0, "test": 50}
    assert leak["worth"] == pytest.approx(leak["with"] - leak["without"], abs=2e-6)
    assert leak["interval"][0] <= leak["worth"] <= leak["interval"][1]
