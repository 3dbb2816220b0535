"""The advice, on the curves and counts of real runs."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.reporting.advice import advise
from tasks.reporting.results import Results, compute_results
from tests.support.reports import PARAMETERS, evaluation

# What a run is judged by; the default is the committed one on CIFAR-10.
DEFAULT: dict[str, Any] = {"n": 45_000, "losses": [1.052, 0.856, 0.692, 0.523], "train": 0.876, "validation": 0.856}
FINE_TUNE = {"network": "efficientnet_lite0"}
PROBE = {**FINE_TUNE, "trainable": "head"}
SOLVED = {"n": 500, "train": 0.999, "validation": 0.99, "test": 0.99}
OVERFITTED = {"losses": [1.2, 0.9, 1.1], "train": 0.99, "validation": 0.70}
PLAIN = {**PARAMETERS["regularize"]["augment"], "flip": "none", "translate": 0}
RUNS: dict[str, tuple[dict[str, Any], str | None]] = {
    "the committed run": ({}, "still falling (0.692 → 0.523) and the gap is small: more epochs reach more, such as"),
    "five colours, 84 images": (
        {"n": 84, "test": 0.667},
        "4 updates in all are too few: set train.batch_size 16, train.epochs 84 and, with sgd, "
        "train.learning_rate 0.1; from 84 training images probe usually reaches more: "
        "`python -m flows.start --variant probe`",
    ),
    "a batch and a part of one, three epochs": ({"n": 257, "losses": [2, 1.95, 1.9], "test": 0.3}, "6 updates in all"),
    "4,000 images": (
        {"n": 4000, "test": 0.4},
        "64 updates in all are too few: set train.batch_size 64, train.epochs 8 and",
    ),
    "10,000 images": (
        {"n": 10_000, "test": 0.4},
        "set train.batch_size 64, train.epochs 4 and, with sgd, train.learning_rate 0.1",
    ),
    "clip art, 30 epochs": (
        {"n": 1756, "losses": [1.9] * 30, "test": 0.527},
        "from 1,756 training images fine_tune usually reaches more: `python -m flows.start --variant fine_tune`",
    ),
    "few images that are enough": ({**SOLVED, "losses": [1.0, 0.02]}, None),
    "a probe on few images": ({"n": 200, "model": PROBE, "losses": [0.7], "train": 0.9, "validation": 0.86}, None),
    "clip art, a probe": (
        {"n": 1756, "model": PROBE, "losses": [0.7], "test": 0.633},
        "from 1,756 training images fine_tune usually reaches more",
    ),
    "a constant rate without progress": ({"losses": [0.53, 0.528, 0.525, 0.523]}, None),
    "the default without augmentation": (
        {**OVERFITTED, "regularize": {"augment": PLAIN}},
        "training 99.0\xa0%, validation 70.0\xa0%: regularize.augment (translate 2, and flip random if",
    ),
    "with augmentation": (OVERFITTED, "validation 70.0\xa0%: regularize.dropout 0.5 narrows such a gap"),
    "with both": ({**OVERFITTED, "regularize": {"dropout": 0.5}}, "more training images help most"),
    "clip art, fine-tuned": (
        {"n": 1756, "model": FINE_TUNE, "losses": [1.0, 0.95, 0.92], "train": 0.95, "validation": 0.718, "test": 0.703},
        "training 95.0\xa0%, validation 71.8\xa0%: more training images help most",
    ),
    "fine-tuned, and as good on others": ({"n": 2000, "model": FINE_TUNE, "losses": [0.4, 0.41]}, None),
    "many images and chance": ({"losses": [2.30, 2.31], "train": 0.1, "validation": 0.1, "test": 0.1}, None),
}


def judged(run: dict[str, Any]) -> tuple[Any, Results]:
    run = {**DEFAULT, "test": DEFAULT["validation"], **run}
    made = evaluation()
    history = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in enumerate(run["losses"], 1)]
    overrides = {block: {**PARAMETERS[block], **run.get(block, {})} for block in ("model", "regularize")}
    files = {**made.files, "train": ["x.png"] * run["n"]}
    results = compute_results(made)
    assert results.gap
    gap, half = run["train"] - run["validation"], 0.01
    results = replace(
        results,
        scores={split: {"accuracy": run[split]} for split in ("train", "validation", "test")},
        primary=results.primary._replace(value=run["test"], interval=(run["test"] - half, run["test"] + half)),
        baseline=results.baseline._replace(value=0.1),
        gap=results.gap._replace(value=gap, interval=(gap - half, gap + half)),
    )
    return replace(made, history=history, parameters={**PARAMETERS, **overrides}, files=files), results


@pytest.mark.parametrize("run", RUNS)
def test_the_advice_is_the_first_that_the_run_justifies(run: str) -> None:
    given, expected = RUNS[run]
    advice = advise(*judged(given))
    assert (advice is None) == (expected is None), advice
    assert (expected or "") in (advice or "")


def test_without_validation_there_are_no_curves_to_judge() -> None:
    made, results = judged({})
    history = [{"epoch": row["epoch"]} for row in made.history]
    assert advise(replace(made, history=history), replace(results, gap=None)) is None
