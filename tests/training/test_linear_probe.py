"""The linear probe in stage train: alone, and before fine-tuning."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import train
from tasks.errors import RefusedError
from tasks.evaluate import evaluate
from tasks.models import network, saved_model
from tasks.training.checkpoints import Checkpoints, TrainingState
from tasks.training.history import score_logits
from tests.support.arrays import BACKBONE, DATA, EVALUATED, FOLDS, HISTORY, METRICS, MODEL, SIZES, write_arrays
from tests.support.parameters import edit
from tests.support.training import save_earlier

EARLIER = Path("earlier.keras")
HEAD = {"model__trainable": "head"}


def run(backbone: Path = EARLIER) -> tuple[bytes, bytes]:
    train.train(normalized=DATA, backbone=backbone, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)
    return MODEL.read_bytes(), HISTORY.read_bytes()


def history() -> list[dict[str, str]]:
    with HISTORY.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def earlier(workplace: Path) -> None:
    """Write small arrays, and a small network to start from."""
    write_arrays(workplace / DATA, **SIZES)
    save_earlier(workplace / EARLIER, network.DataSpec((32, 32, 3), 10, [60.0] * 3, [40.0] * 3), filters=(8, 16))
    edit(workplace / "params.yaml", model__network="pretrained", regularize__dropout=0.2, train__optimizer="sgd")


def other_split() -> None:
    """Draw other training and validation images, as another seed does."""
    sizes = [SIZES["train"], SIZES["validation"]]
    order = np.random.default_rng(5).permutation(sum(sizes))
    for kind in ("images", "labels"):
        files = [DATA / f"{split}_{kind}.npy" for split in ("train", "validation")]
        mixed = np.concatenate([np.load(file) for file in files])[order]
        for file, part in zip(files, np.split(mixed, sizes[:1]), strict=True):
            np.save(file, part)


def test_the_head_alone_is_trained_and_published_as_one_model() -> None:
    edit(Path("params.yaml"), **HEAD)
    run()
    source, model = saved_model.load_model(EARLIER, (32, 32, 3), 10), saved_model.load_model(MODEL, (32, 32, 3), 4)
    for layer in (layer for layer in source.layers[:-1] if layer.weights):
        assert all(map(np.array_equal, layer.get_weights(), model.get_layer(layer.name).get_weights()))
    (row,) = history()
    assert (row["epoch"], row["learning_rate"]) == ("1", "0.0")
    labels = np.load(DATA / "validation_labels.npy")
    expected = score_logits(model.predict_on_batch(np.load(DATA / "validation_images.npy")), labels)
    assert float(row["validation_loss"]) == pytest.approx(expected.loss, abs=1e-4)
    assert float(row["validation_accuracy"]) == pytest.approx(expected.accuracy, abs=1e-6)
    assert float(row["train_accuracy"]) > 0.7
    shown = float(row["train_accuracy"]) - float(row["validation_accuracy"])
    assert float(row["generalization_gap"]) == pytest.approx(shown, abs=2e-6)
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    assert json.loads(METRICS.read_text())["test"]["accuracy"] > 0.4


def test_another_split_takes_the_kept_features(capsys: pytest.CaptureFixture[str]) -> None:
    """Get the history of a run without them, whatever the regularizers."""
    edit(Path("params.yaml"), **HEAD)
    run()
    other_split()
    edit(Path("params.yaml"), regularize__l2=0.1, regularize__dropout=0.0, regularize__augment__cutout=8)
    capsys.readouterr()
    taken = run()[1]
    shown = capsys.readouterr().out
    assert "features: 300 of 300 kept from before, 0 computed in " in shown
    assert "features: 60 of 60 kept from before, 0 computed in " in shown
    shutil.rmtree(".checkpoints")
    edit(Path("params.yaml"), regularize__l2=0.0, regularize__dropout=0.2, regularize__augment__cutout=0)
    assert run()[1] == taken
    assert "features: 0 of 300 kept from before, 300 computed in " in capsys.readouterr().out


def test_training_every_layer_starts_from_the_probe(capsys: pytest.CaptureFixture[str]) -> None:
    edit(Path("params.yaml"), **HEAD)
    run()
    fitted, columns = logits(), list(history()[0])
    capsys.readouterr()
    edit(Path("params.yaml"), model__trainable="all", train__epochs=1, train__learning_rate=1e-7)
    run()
    assert "features: 300 of 300 kept from before" in capsys.readouterr().out
    assert list(history()[0]) == columns
    for before, after in zip(fitted, logits(), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)


def logits() -> list[np.ndarray]:
    weights: list[np.ndarray] = saved_model.load_model(MODEL, (32, 32, 3), 4).get_layer("logits").get_weights()
    return weights


def test_a_resumed_training_computes_no_probe_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        """A kill."""

    save = Checkpoints.save

    def killed(self: Checkpoints, state: TrainingState) -> None:
        save(self, state)
        raise KilledError

    def computed_again(*args: Any) -> None:
        raise AssertionError("the probe was computed again")

    edit(Path("params.yaml"), train__epochs=2)
    undisturbed = run()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed)
        with pytest.raises(KilledError):
            run()
    MODEL.unlink()
    monkeypatch.setattr("tasks.training.linear_probe.fit_head", computed_again)
    monkeypatch.setattr("tasks.training.linear_probe.compute_features", computed_again)
    assert run() == undisturbed


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (np.nan, r"backbone in dvc.yaml must have finite weights; received others: dense/kernel"),
        (3e38, "the features of the network must be finite numbers"),
    ],
)
def test_what_is_not_finite_publishes_nothing(value: float, rule: str) -> None:
    edit(Path("params.yaml"), **HEAD)
    source = saved_model.load_model(EARLIER, (32, 32, 3), 10)
    layer = next(layer for layer in reversed(source.layers[:-1]) if layer.weights)
    weights = layer.get_weights()
    weights[0][...] = value
    layer.set_weights(weights)
    source.save(EARLIER)
    with pytest.raises(RefusedError, match=rule):
        run()
    assert not MODEL.exists()
    assert not HISTORY.exists()


@pytest.mark.slow
def test_efficientnet_lite0_is_probed_twice_to_the_same_bytes() -> None:
    edit(Path("params.yaml"), **HEAD, model__network="efficientnet_lite0", model__input_size=64)
    first = run(BACKBONE)
    assert float(history()[0]["validation_accuracy"]) > 0.9
    assert run(BACKBONE) == first
    shutil.rmtree(".checkpoints")
    assert run(BACKBONE) == first
