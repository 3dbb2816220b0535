"""The model's card: claims that are numbers of the reports, and what is open without them."""

import pytest
from ruamel.yaml import YAML

from tasks.exporting.card import CIFAR10, LITE0, OWN_IMAGES, Reports, escape_markdown, write_card
from tests.support.reports import card_reports as reports

ROW = {
    "n": 200,
    "accuracy": 0.61,
    "accuracy_difference": -0.01,
    "accuracy_interval": {"low": -0.02, "high": 0.005},
    "other_labels": 3,
    "largest_difference": 0.25,
    "bytes": 12_345,
}


def test_every_claim_is_a_number_of_the_reports() -> None:
    given = reports(parity={"onnx": ROW, "litert_int8": ROW})
    card = write_card(given, [OWN_IMAGES, LITE0])
    low, high = given.scores["intervals"]["accuracy"]
    score = given.scores["splits"]["test"]["accuracy"]
    assert f"Test accuracy on 200 images: **{score:.4f}**, 95 % interval {low:.4f} to {high:.4f}." in card
    assert "| with a label that people corrected | 11 |\n" in card
    assert "| in test, with a duplicate in training | 8 |\n" in card
    weakest = min(given.scores["classes"], key=lambda row: row["f1"])
    assert f"| {weakest['class']} | {weakest['f1']:.4f} | {weakest['support']} |" in card
    for file in ("classifier.onnx", "classifier_int8.tflite"):
        assert f"| `{file}` | 12,345 | 0.6100 | -1.00 [-2.00, +0.50] | 3 of 200 | 0.250000 |" in card
        assert f'"models/exports/{file}"' in card
    assert "| 2 | class 2 |\n" in card
    assert "| in no split (normalize.train_images) | 18 |\n" in card
    assert "Apache-2.0" in card
    assert given.about["model"] in card
    assert given.about["data"] in card


def test_the_head_is_yaml_in_the_form_of_the_hub() -> None:
    head = YAML(typ="safe").load(write_card(reports(), [CIFAR10]).split("---\n")[1])
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert head["pipeline_tag"] == result["task"]["type"] == "image-classification"
    assert result["dataset"]["name"] == "CIFAR-10"
    assert result["metrics"] == [{"type": "accuracy", "value": pytest.approx(0.8, abs=0.3)}]


FOLDS = {"folds": {"trainings": 5}, "published": {"test_images": 0}}


@pytest.mark.parametrize(
    ("given", "said", "is_open"),
    [
        (reports(), "The gap between", False),
        (reports(validation=False), "The gap between", True),
        (reports(validation=False), "no temperature was fitted", True),
        (reports(), "Files for other runtimes", True),
        (reports(parity={"onnx": ROW}), "Files for other runtimes", False),
        (reports(metrics=FOLDS), "This very network", True),
        (reports(metrics={**FOLDS, "published": {"test_images": 9}}), "This very network", False),
        (reports(), "Pictures of something else", True),
        (reports(metrics={"novelty": 0.01}), "Pictures of something else", False),
    ],
)
def test_what_has_no_metric_was_never_measured(given: Reports, said: str, is_open: bool) -> None:
    listed = write_card(given, [OWN_IMAGES]).split("## Never measured")[1].split("## ")[0]
    assert (said in listed) == is_open


def test_names_are_shown_as_they_are() -> None:
    assert escape_markdown("a, b") == "a, b"
    assert escape_markdown("<b>*|`_\n") == "&lt;b&gt;\\*\\|\\`\\_\\\\n"
    card = write_card(reports(class_names=["a | b", "<script>", "x\ny", "é" * 127]), [OWN_IMAGES])
    assert "<script>" not in card
    assert "| a \\| b |" in card
