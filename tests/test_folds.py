"""Cross-validation through the stages: each image is judged by a network that did not learn from it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import train
from tasks.data import arrays, splits
from tasks.errors import RefusedError
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.metrics.predictions import read_predictions
from tasks.models import network, saved_model
from tasks.report import report
from tasks.training import checkpoints
from tasks.training.cross_validation import choose_epochs
from tests.support.arrays import (
    BACKBONE,
    DATA,
    DETAILS,
    EVALUATED,
    FOLDS,
    HISTORY,
    METRICS,
    MODEL,
    NAMES,
    PAGE,
    PREDICTIONS,
    REPORTED,
    write_arrays,
)
from tests.support.parameters import edit
from tests.support.training import save_earlier

N, N_FOLDS = 90, 3
SMALL = {"model__filters": [4, 4], "train__batch_size": 16, "train__precision": "float32", "train__epochs": 2}


@pytest.fixture(autouse=True)
def folded(workplace: Path) -> None:
    """Write small arrays whose last two images no fold holds out."""
    write_arrays(workplace / DATA, train=N)
    _, labels = arrays.load_split(DATA, "train", len(NAMES))
    plan = splits.assign_folds(labels[:-2], np.arange(N - 2) // 2, N_FOLDS, 0.2, seed=0)
    plan = np.concatenate([plan, np.zeros((2, N_FOLDS), np.uint8)])
    fold(plan, "test")
    edit(workplace / "params.yaml", normalize__folds=N_FOLDS, **SMALL)


def fold(plan: np.ndarray, split: str) -> None:
    images, labels = arrays.load_split(DATA, "train", len(NAMES))
    rows = np.flatnonzero((plan == arrays.HELD_OUT).any(axis=1))
    files = [arrays.files(DATA, "train")[row] for row in rows]
    arrays.write_split(DATA, split, files, labels[rows], images.shape[1:], [images[rows]])
    np.save(DATA / arrays.FOLDS, plan)
    np.save(arrays.groups_path(DATA, split), rows // 2)
    scaling = {"method": "x", "mean": [60.0] * 3, "std": [40.0] * 3}
    arrays.write_description(DATA, NAMES, "crop", scaling)


def run_train(backbone: Path = BACKBONE) -> tuple[bytes, bytes, bytes]:
    train.train(normalized=DATA, backbone=backbone, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)
    return MODEL.read_bytes(), FOLDS.read_bytes(), HISTORY.read_bytes()


def run_evaluate() -> dict[str, Any]:
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    found: dict[str, Any] = json.loads(METRICS.read_text())
    return found


def test_each_image_is_predicted_by_the_fold_that_held_it_out_and_the_report_says_so() -> None:
    run_train()
    metrics, plan = run_evaluate(), np.load(DATA / arrays.FOLDS)
    predictions, model = read_predictions(PREDICTIONS), saved_model.load_model(MODEL, (32, 32, 3), 4)
    assert metrics["folds"] == {"trainings": N_FOLDS, "held_out": N - 2, "groups": N // 2 - 1, "never_held_out": 2}
    assert metrics["published"] == {"train_images": N, "test_images": 0}
    assert metrics["validation"] == metrics["test"]
    images, _ = arrays.load_split(DATA, "test", 4)
    held_out = plan[(plan == arrays.HELD_OUT).any(axis=1)]
    with np.load(FOLDS) as saved:
        weights = [
            [saved[f"{n}_{i}"] for i in range(len(model.get_weights())) if f"{n}_{i}" in saved] for n in range(3)
        ]
    assert len({weight[-1].tobytes() for weight in weights}) == N_FOLDS
    for number, does in enumerate(held_out.T):
        own = model.get_weights()
        with np.load(FOLDS) as saved:
            model.set_weights([saved.get(f"{number}_{n}", weight) for n, weight in enumerate(own)])
        scores = model.predict(images[does == arrays.HELD_OUT], verbose=0).argmax(axis=1)
        np.testing.assert_array_equal(scores, predictions.y_prob["test"][does == arrays.HELD_OUT].argmax(axis=1))
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    notes, page = (DETAILS / "notes.txt").read_text(), PAGE.read_text()
    assert f"of {N - 2} images are classified right, each by a network that did not learn from it." in notes
    assert f"The published model learnt from all {N} images, so nothing scores it" in notes
    assert "memorized" not in page
    with (DETAILS / "label_issues.csv").open(newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} <= {"test"}
    parity = Path("reports/export.json")
    export(normalized=DATA, model_path=MODEL, folds_path=FOLDS, exports=Path("models/exports"), metrics_path=parity)
    exported = json.loads(parity.read_text())["onnx"]  # of the published model, whose scores are not those of the folds
    assert (exported["n"], exported["other_labels"], "accuracy" in exported) == (N - 2, 0, False)
    others: dict[str, Any] = {"0_0": np.zeros(3)}
    np.savez(FOLDS, **others)
    with pytest.raises(RefusedError, match="must hold the weights of 3 folds"):
        run_evaluate()


class KilledError(Exception):
    """A kill of the process."""


@pytest.mark.slow
def test_kills_in_each_fold_and_in_the_last_training_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill each run after it has saved a state: the first epoch or the end of a fold."""
    expected, write, n_killed = run_train(), checkpoints._write_checkpoint, 0

    def save(*arguments: Any) -> None:
        write(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write_checkpoint", save)
        while n_killed < 2 * N_FOLDS + 1:
            with pytest.raises(KilledError):
                run_train()
            n_killed += 1
        assert run_train() == expected
    assert not [path for path in Path(".checkpoints").glob("*") if not path.name.startswith("features")]


@pytest.mark.slow
def test_early_stopping_ends_the_published_training_after_the_median_of_best_epochs() -> None:
    edit(Path("params.yaml"), regularize__early_stopping__patience=1, train__epochs=4)
    run_train()
    with HISTORY.open(newline="") as file:
        assert 1 <= len(list(csv.DictReader(file))) <= 4
    losses = ((1.0, 2.0), (3.0, 2.0), (4.0, 1.0))
    curves = [[{"epoch": 1.0, "validation_loss": a}, {"epoch": 2.0, "validation_loss": b}] for a, b in losses]
    assert choose_epochs(curves) == 2


def test_a_probe_stores_the_logits_of_its_folds_alone(workplace: Path) -> None:
    save_earlier(Path("earlier.keras"), network.DataSpec((32, 32, 3), 10, [60.0] * 3, [40.0] * 3), filters=(8, 16))
    edit(workplace / "params.yaml", model__network="pretrained", model__trainable="head")
    run_train(Path("earlier.keras"))
    with np.load(FOLDS) as saved:
        assert len(saved.files) == 2 * N_FOLDS
        assert {saved[name].shape[-1] for name in saved} == {len(NAMES)}
    assert run_evaluate()["test"]["accuracy"] > 0.5


@pytest.mark.slow
def test_with_a_given_test_split_the_folds_are_validation() -> None:
    plan = np.load(DATA / arrays.FOLDS)
    arrays.groups_path(DATA, "test").unlink()
    fold(plan, "validation")
    run_train()
    metrics = run_evaluate()
    assert metrics["published"] == {"train_images": N, "test_images": N - 2}
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    assert f"Validation is what {N_FOLDS} folds held out" in (DETAILS / "notes.txt").read_text()


def test_a_fold_that_diverges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    edit(Path("params.yaml"), train__optimizer="sgd", train__learning_rate=1e30)
    with pytest.raises(RefusedError, match="fold 1 of 3: epoch 1: loss and weights must stay finite"):
        run_train()
    assert not MODEL.exists()
