"""Stages train, evaluate and report, as functions on small arrays."""

import csv
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ruamel.yaml import YAML
from scipy.special import softmax
from sklearn import metrics

from tasks.data.digests import hash_text
from tasks.device import cpu
from tasks.errors import RefusedError
from tasks.evaluate import evaluate
from tasks.params import ParameterError
from tasks.report import report
from tasks.run.provenance import MADE_ON
from tasks.train import train
from tests.support import ROOT
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
    SIZES,
    write_arrays,
)
from tests.support.jax import needs_jax, on_jax
from tests.support.parameters import SMALL, edit


@pytest.fixture
def arrays(workplace: Path) -> Path:
    write_arrays(workplace / DATA, **SIZES)
    return workplace / DATA


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on small arrays, in a folder."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(ROOT / "params.yaml", folder)
    edit(folder / "params.yaml", **SMALL, regularize__l2=0.01, regularize__dropout=0.2)
    write_arrays(folder / DATA, **SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_train()
    return folder


@pytest.fixture
def finished(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def run_evaluate() -> dict[str, Any]:
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    result: dict[str, Any] = json.loads(METRICS.read_text())
    return result


def run_report() -> None:
    report(normalized=DATA, model_path=MODEL, **REPORTED)


def run_train() -> dict[str, Any]:
    return train(normalized=DATA, backbone=BACKBONE, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("network", [pytest.param("notebook_cnn", marks=pytest.mark.slow), "whitened_cnn"])
def test_training_twice_gives_the_same_bytes_at_another_time_and_address(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if YAML(typ="safe").load(Path("params.yaml"))["model"]["network"] != network:  # whose first training is there
        edit(Path("params.yaml"), model__network=network)
        run_train()
    first, recorded = (MODEL.read_bytes(), HISTORY.read_bytes()), MADE_ON.stat().st_ino
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60)  # past the resolution of a zip file's time stamps
    facts = run_train()
    assert facts["device"] == "cpu"
    assert facts["epochs"] == 2
    assert (MODEL.read_bytes(), HISTORY.read_bytes()) == first
    assert MADE_ON.stat().st_ino == recorded
    assert sorted(file.name for file in MODEL.parent.iterdir()) == [MODEL.name, FOLDS.name]


@pytest.mark.slow
@needs_jax
def test_every_epoch_on_jax_has_its_own_batches_in_order() -> None:
    """Count an epoch for the start, as JAX reads the first batches twice."""
    code = (
        "import numpy as np\n"
        "from keras.src.backend.jax.trainer import JAXEpochIterator\n"
        "from tasks.training.batches import Batches\n"
        "from tasks.training.image_splits import Split\n"
        "from tasks.params.regularize import Augment\n"
        "from tests.support.parameters import PLAIN\n"
        "from tests.support.training import train_params\n"
        "images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)\n"
        "still = Augment(**PLAIN)\n"
        "split = Split(images, np.zeros(200, np.int32))\n"
        "batches = JAXEpochIterator(x=Batches(split, 10, still, train_params(batch_size=8)))\n"
        "for _, _, steps in batches:\n    next(steps)\n    break\n"
        "batches.reset()\n"
        "for _ in range(3):\n"
        "    print(*(int(image) for _, _, steps in batches for x, _ in steps for image in np.asarray(x)[:, 0, 0, 0]))\n"
    )
    seen = [[int(image) for image in line.split()] for line in on_jax("-c", code).splitlines()]
    assert seen == [np.random.default_rng([0, epoch]).permutation(200).tolist() for epoch in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.usefixtures("arrays")
@needs_jax
def test_the_same_configuration_trains_on_jax() -> None:
    paths = "--backbone", str(BACKBONE), "--model", str(MODEL), "--history", str(HISTORY)
    on_jax("-m", "tasks.train", "--normalized", str(DATA), *paths)
    assert json.loads(Path("reports/run.json").read_text())["train"]["backend"] == "jax"
    assert keras.models.load_model(MODEL).output_shape == (None, 4)


@pytest.mark.usefixtures("arrays")
def test_bfloat16_training_saves_a_float32_model() -> None:
    edit(Path("params.yaml"), train__precision="mixed_bfloat16")
    facts = run_train()
    made = json.loads(MADE_ON.read_text())
    assert made == {
        **{key: facts[key] for key in ("threads", "device", "backend", "precision")},
        "cpu": cpu.name(),
    }
    assert made["precision"] == "mixed_bfloat16"
    model = keras.models.load_model(MODEL)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.usefixtures("finished")
def test_every_number_is_what_scikit_learn_computes_from_the_predictions() -> None:
    result = run_evaluate()
    run_report()
    with np.load(PREDICTIONS) as saved:
        y_true, y_prob = saved["labels"], saved["probabilities"]
        assert saved["images"] == hashlib.md5((DATA / "test_images.npy").read_bytes()).hexdigest()
        assert saved["test_ids"].tolist() == [hash_text(name) for name in (DATA / "test_files.txt").read_text().split()]
    np.testing.assert_array_equal(y_true, np.load(DATA / "test_labels.npy"))
    predicted = y_prob.argmax(axis=1)
    assert result["test"]["accuracy"] == round(metrics.accuracy_score(y_true, predicted), 6)
    assert result["test"]["loss"] == round(metrics.log_loss(y_true, y_prob), 6)
    model = keras.models.load_model(MODEL)
    for split in ("train", "validation"):
        images, truth = np.load(DATA / f"{split}_images.npy"), np.load(DATA / f"{split}_labels.npy")
        expected = softmax(model.predict(images, verbose=0).astype("float64"), axis=1)
        assert result[split]["accuracy"] == pytest.approx((expected.argmax(axis=1) == truth).mean(), abs=1e-6)
        assert result[split]["loss"] == pytest.approx(metrics.log_loss(truth, expected), abs=1e-5)
    gap = result["train"]["accuracy"] - result["validation"]["accuracy"]
    assert result["generalization_gap"] == pytest.approx(gap, abs=1.1e-6)
    f1 = metrics.f1_score(y_true, predicted, average=None, labels=range(4), zero_division=0)
    assert result["f1"] == {name: round(value, 6) for name, value in zip(NAMES, f1, strict=True)}

    with (DETAILS / "confusion.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows] == NAMES
    counts = metrics.confusion_matrix(y_true, predicted, labels=range(4))
    assert [[int(cell) for cell in row[1:]] for row in rows] == counts.tolist()
    with (DETAILS / "per_class.csv").open() as file:
        table = list(csv.DictReader(file))
    columns = metrics.precision_recall_fscore_support(y_true, predicted, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        assert [float(row[name]) for row in table] == pytest.approx(values.tolist(), abs=1e-6)
    report = metrics.classification_report(y_true, predicted, target_names=NAMES, digits=4, zero_division=0)
    assert (DETAILS / "classification_report.txt").read_text() == report
    assert {file.name for file in DETAILS.glob("*.svg")} == {"curves.svg", "confusion.svg", "reliability.svg"}


@pytest.mark.usefixtures("finished")
def test_evaluating_twice_gives_the_same_bytes_whatever_the_batches() -> None:
    first = run_evaluate()
    edit(Path("params.yaml"), evaluate__batch_size=7)
    again = run_evaluate()
    run_report()
    files = [METRICS, PREDICTIONS, PAGE, *sorted(DETAILS.iterdir())]
    before = [file.read_bytes() for file in files]
    run_evaluate()
    run_report()
    assert [file.read_bytes() for file in files] == before
    for split in ("train", "validation", "test"):
        assert again[split] == pytest.approx(first[split], abs=2e-6)


def test_without_validation_its_keys_the_gap_and_early_stopping_are_absent(arrays: Path) -> None:
    for file in arrays.glob("validation_*"):
        file.unlink()
    run_train()
    result = run_evaluate()
    assert list(result) == ["train", "test", "f1"]
    assert HISTORY.read_text().splitlines()[0] == "epoch,train_loss,train_accuracy,learning_rate"
    edit(Path("params.yaml"), regularize__early_stopping__patience=2)
    with pytest.raises(ParameterError, match=r"patience: must be 0 without a validation split, .*; received 2"):
        run_train()


@pytest.mark.usefixtures("arrays")
def test_a_shift_beyond_the_image_is_refused() -> None:
    edit(Path("params.yaml"), regularize__augment__translate=32)
    with pytest.raises(RefusedError, match=r"regularize.augment.translate must be below 32, .*; received 32"):
        run_train()
    assert not MODEL.exists()


@pytest.mark.usefixtures("arrays")
def test_a_run_that_diverges_publishes_nothing() -> None:
    edit(Path("params.yaml"), train__optimizer="sgd", train__learning_rate=1e9)
    with pytest.raises(RefusedError, match=r"must stay finite; received .*; lower train.learning_rate"):
        run_train()
    assert not MODEL.exists()
    assert not HISTORY.exists()
