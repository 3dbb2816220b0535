"""The summary at the end of a run."""

import json
import shutil
from pathlib import Path

import pytest

from flows.results.summary import summary
from tests.support import ROOT

METRICS = {
    "train": {"accuracy": 0.9, "loss": 0.5},
    "validation": {"accuracy": 0.84, "loss": 0.6},
    "test": {"accuracy": 0.83216, "loss": 0.61234},
    "generalization_gap": 0.06,
    "f1": {"cat": 0.7},
}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def test_a_summary_shows_scores_gap_and_what_was_made(finished: Path) -> None:
    for path in ("data/raw", "reports/evaluation"):  # reports/history.csv was not made, for one
        (finished / path).mkdir(parents=True)
    lines = summary(finished).splitlines()
    assert "| test       | 83.22%   | 0.6123      |" in lines
    assert "generalization gap (train − validation): 6.00 points" in lines
    assert lines[-1] == "made: data/raw, reports/metrics.json, reports/evaluation"


def test_a_summary_shows_what_each_stage_ran_on_where_that_is_known(finished: Path) -> None:
    facts = {
        "train": {
            "device": "cpu",
            "threads": 2,
            "precision": "float32",
            "images_per_second": 2512,
            "epochs": 3,
            "seconds": 60.5,
        },
        "evaluate": {
            "device": "cpu",
            "threads": 2,
            "n_parameters": 1_250_858,
            "n_bytes": 5_034_112,
            "milliseconds_per_image": 0.21,
            "seconds": 15.0,
        },
    }
    (finished / "reports/run.json").write_text(json.dumps(facts))
    shown = [line.replace("  ", "") for line in summary(finished).splitlines()]
    assert any("60.5 s | cpu, 2 threads, float32, 2,512 images/s" in line for line in shown)
    assert any("cpu, 2 threads, 1,250,858 parameters in 5.0 MB, 0.21 ms an image" in line for line in shown)


def test_a_summary_has_the_first_words_of_the_report_and_ends_with_its_page(finished: Path) -> None:
    (finished / "reports/evaluation").mkdir()
    notes = ["83.2 % of 100 test images are classified right.", "Next: more epochs → train.epochs 8."]
    (finished / "reports/evaluation/notes.txt").write_text("\n".join(notes) + "\n")
    (finished / "reports/index.html").touch()
    text = summary(finished)
    assert "\n".join(["", *notes, ""]) in text
    assert text.endswith("\n\nopen reports/index.html")


def test_without_validation_there_is_no_gap(finished: Path) -> None:
    metrics = {"train": METRICS["train"], "test": METRICS["test"], "f1": {}}
    (finished / "reports/metrics.json").write_text(json.dumps(metrics))
    assert "gap" not in summary(finished)


def test_before_the_first_run_the_next_command_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        summary(tmp_path)


def test_another_headline_comes_first(finished: Path) -> None:
    metrics = {split: {**scores, "f1_macro": 0.5} for split, scores in METRICS.items() if isinstance(scores, dict)}
    del metrics["f1"]
    (finished / "reports/metrics.json").write_text(json.dumps({**metrics, "generalization_gap": 0.06}))
    lines = summary(finished).splitlines()
    assert "| test       | 50.00%   | 83.22%   | 0.6123      |" in lines
    assert lines[0].startswith("| split      | f1 macro |")
    assert "generalization gap of f1 macro (train − validation): 6.00 points" in lines


def test_a_model_that_was_made_elsewhere_is_said_to_be(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "made in" not in summary(finished)
    monkeypatch.setattr("flows.results.summary.made_elsewhere", lambda root: f"made in bfloat16 {root == finished}")
    assert "the model was made in bfloat16 True" in summary(finished).splitlines()
