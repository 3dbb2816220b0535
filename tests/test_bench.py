"""The benchmark counts figures of the present recipe and this CPU only."""

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import accuracy, epochs, frontier, measure, recipes, reference
from tests.support import ROOT


def words(svg: str) -> str:
    """Extract all text of a figure."""
    texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return "\n".join("".join(element.itertext()) for element in texts)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record two epochs of every seed, with the second seed on another CPU."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(recipes, "CURVES", tmp_path / "recipes.csv")
    monkeypatch.setattr(frontier, "MEASURED", tmp_path / "bench.json")
    row = {"cpu": measure.cpu(), "sides": {reference.WHOLE: {"median": 3_000}}}
    frontier.MEASURED.write_text(json.dumps({"ratios": [row]}), encoding="utf-8")
    with recipes.CURVES.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, recipes.COLUMNS)
        writer.writeheader()
        for variant, seeds in recipes.SEEDS.items():
            for seed in range(seeds):
                about = {"variant": variant, "seed": seed, "recipe": recipes.recipe(variant)}
                about |= {"machine": "1 thread", "cpu": "another" if seed == 1 else measure.cpu()}
                writer.writerow({**about, "epoch": 1, "seconds": 10, "validation_accuracy": 0.6})
                about |= {"epoch": 2, "seconds": 20, "validation_accuracy": 0.95, "test_accuracy": 0.92}
                writer.writerow({**about, "test_accuracy_with_views": 0.93})


def test_the_frontier_is_drawn_from_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    drawn = words(frontier.draw(frontier.sides()))
    assert {"time of training on two cores", "accuracy (%)"} <= set(drawn.splitlines())
    assert "stock Keras, 150 epochs, best on validation: 77.6 %" in drawn
    there = [variant for variant in ("default", "quick", "fast") if recipes.curves(variant)]
    assert [variant for variant in there if f"ours, {variant}: " not in drawn] == []


@pytest.mark.usefixtures("measured")
def test_every_training_is_named_with_its_accuracy_on_test() -> None:
    drawn = words(frontier.draw(frontier.sides()))
    names = ("ours, default", "ours, quick", "ours, fast", "PyTorch, 64/256/256", "PyTorch, 32/128/128")
    assert [name for name in names if f"{name}: 92.0 %" not in drawn] == []


@pytest.mark.usefixtures("measured")
def test_a_seed_of_another_recipe_is_run_again() -> None:
    assert list(recipes.missing()) == []
    rows = recipes.CURVES.read_text(encoding="utf-8")
    recipes.CURVES.write_text(rows.replace(recipes.recipe("fast"), "0" * 8), encoding="utf-8")
    assert list(recipes.missing()) == [("fast", seed) for seed in range(recipes.SEEDS["fast"])]


@pytest.mark.usefixtures("measured")
def test_a_whole_training_counts_where_this_cpu_timed_it_and_its_accuracy_is_reached() -> None:
    fast, quick = accuracy._whole_trainings([1.0, 2.0, 3.0])
    assert (fast["ratio"], fast["n"]) == (150 * 2.0 / 20, 3)
    assert fast["test_accuracy"]["n"] == 4  # seed 1 is of another CPU
    assert fast["test_accuracy_with_views"]["mean"] == 0.93
    assert (fast["met"], quick["met"]) == (False, False)  # too few with views, and a ratio of 15
    fast, quick = accuracy._whole_trainings([13.0])
    assert (fast["met"], quick["met"]) == (False, True)


@pytest.mark.usefixtures("measured")
def test_the_default_is_timed_to_the_end_of_the_epoch_that_arrives() -> None:
    near, best = accuracy._time_to_reference_best([10.0])
    assert [side["median"] for side in best["sides"].values()] == [1_500, 20]
    assert near["runs_that_never_arrived"] == 0


def test_the_fastest_settings_are_chosen_of_those_in_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"batch=64 bfloat16=0": 3.0, "batch=128 bfloat16=0": 2.0, "batch=128 bfloat16=1": 1.0}
    monkeypatch.setattr(epochs, "run", lambda command: {"seconds": seconds[" ".join(command[4:6])]})
    every = [{key: int(value) for key, value in (pair.split("=") for pair in one.split())} for one in seconds]
    timed = epochs.timed_once("ours", every)
    assert epochs.fastest(timed) == {"batch": 128, "bfloat16": 1}
    assert epochs.fastest(timed, bfloat16=0) == {"batch": 128, "bfloat16": 0}
