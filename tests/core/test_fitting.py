from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from tasks.core import fitting, network
from tasks.core.state import Row, State
from tasks.params.model import Model
from tasks.params.regularize import Augment, EarlyStopping, Regularize
from tasks.params.train import Train

AUGMENT: dict[str, Any] = {"flip": "random", "translate": 2, "cutout": 0}
PLAIN: dict[str, Any] = {"flip": "none", "translate": 0, "cutout": 0}
RECIPE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "schedule": "one_cycle",
    "warmup": 0.25,
    "seed": 0,
    "deterministic": True,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}


def split(n: int, seed: int) -> fitting.Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.uint8)
    images = rng.integers(0, 30, (n, 32, 32, 3), dtype=np.uint8)
    images[np.arange(n), :, labels * 3, :] = 255  # a class is the column of a bright line
    return fitting.Split(images, labels)


TRAIN, VALIDATION = split(300, 1), split(100, 2)


def fit(
    validation: fitting.Split | None = VALIDATION,
    patience: int = 0,
    augment: dict[str, Any] = PLAIN,
    on_device: bool = False,
    batch_norm: bool = True,
    start: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    **recipe: Any,
) -> tuple[keras.Model, list[Row]]:
    keras.utils.set_random_seed(0)
    regularize = Regularize(
        l2=0.001,
        dropout=0.1,
        batch_norm=batch_norm,
        label_smoothing=0.1,
        weight_decay=0.0,
        augment=Augment(**augment),
        early_stopping=EarlyStopping(patience=patience),
    )
    model = Model(network="reference", filters=(4, 8), dense_units=16, pool_before_norm=True)
    built = network.build(model, regularize, [20.0] * 3, [60.0] * 3, 10)
    made = Train(**{**RECIPE, **recipe})
    rows = fitting.fit(built, TRAIN, validation, made, regularize, on_device=on_device, start=start, keep=keep)
    return built, rows


def batches(seed: int = 0, epoch: int = 0) -> fitting.Batches:
    return fitting.Batches(TRAIN.images, TRAIN.labels, 10, 64, Augment(**AUGMENT), seed, epoch)


def test_an_epoch_shows_every_image_once_and_the_last_batch_is_the_rest() -> None:
    plain = fitting.Batches(TRAIN.images, TRAIN.labels, 10, 64, Augment(**PLAIN), 0)
    sizes = [len(plain[step][0]) for step in range(len(plain))]
    assert sizes == [64, 64, 64, 64, 44]
    shown = np.concatenate([plain[step][0] for step in range(len(plain))])
    assert sorted(map(bytes, shown)) == sorted(map(bytes, TRAIN.images))


def test_labels_travel_with_their_images() -> None:
    images, one_hot = fitting.Batches(TRAIN.images, TRAIN.labels, 10, 64, Augment(**PLAIN), 0)[1]
    bright = images.min(axis=(1, 3)).argmax(axis=1) // 3
    np.testing.assert_array_equal(one_hot.argmax(axis=1), bright)
    assert one_hot.sum() == 64


def test_each_epoch_has_an_order_and_changes_of_its_own() -> None:
    first, second = batches(), batches()
    second.on_epoch_end()
    assert not np.array_equal(first[0][0], second[0][0])


def test_two_epochs_of_an_alternating_flip_show_both_sides_of_every_image() -> None:
    shown: set[bytes] = set()
    for epoch in (0, 1):
        turning = fitting.Batches(
            TRAIN.images, TRAIN.labels, 10, 64, Augment(**{**PLAIN, "flip": "alternating"}), 0, epoch
        )
        shown |= {image.tobytes() for step in range(len(turning)) for image in turning[step][0]}
    assert shown == {side.tobytes() for image in TRAIN.images for side in (image, image[:, ::-1])}


def test_a_batch_depends_on_seed_epoch_and_step_alone() -> None:
    walked, jumped = batches(), batches(epoch=1)
    walked[3], walked[1]
    walked.on_epoch_end()
    np.testing.assert_array_equal(walked[2][0], jumped[2][0])
    assert not np.array_equal(batches(seed=1)[0][0], batches(seed=0)[0][0])


def test_batches_come_from_threads_that_work_ahead_and_not_from_autotuning() -> None:
    adapter = PyDatasetAdapter(batches())
    assert adapter.enqueuer is not None
    assert not adapter.get_tf_dataset().options().autotune.enabled


def test_training_learns_and_the_history_has_a_row_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    _, rows = fit(epochs=6)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "generalization_gap",
        "learning_rate",
    ]
    assert rows[-1]["validation_accuracy"] > 0.9
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"] / 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("epoch 3/6  train_loss ")
    assert all(f"{name} " in lines[2] for name in rows[0])
    assert lines[2].endswith("s left")
    assert "images/s" in lines[2]


def test_the_history_is_measured_in_inference_mode_without_penalties_or_smoothing() -> None:
    model, rows = fit()
    logits = model.predict(VALIDATION.images, verbose=0).astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_probabilities[np.arange(100), VALIDATION.labels].mean()
    assert rows[-1]["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert rows[-1]["validation_accuracy"] == pytest.approx((logits.argmax(axis=1) == VALIDATION.labels).mean())
    gap = rows[-1]["train_accuracy"] - rows[-1]["validation_accuracy"]
    assert rows[-1]["generalization_gap"] == pytest.approx(gap, abs=1e-6)


def test_the_training_probe_is_fixed_and_as_large_as_validation() -> None:
    probe, again = (fitting.probe(TRAIN, VALIDATION, seed=0) for _ in range(2))
    assert len(probe) == len(VALIDATION)
    np.testing.assert_array_equal(probe.images, again.images)
    assert not np.array_equal(probe.images, fitting.probe(TRAIN, VALIDATION, seed=1).images)


def test_without_validation_its_columns_are_absent() -> None:
    _, rows = fit(validation=None)
    assert list(rows[0]) == ["epoch", "train_loss", "train_accuracy", "learning_rate"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    (first, _), (again, _), (other, _) = fit(), fit(), fit(seed=1)
    assert [w.tobytes() for w in first.get_weights()] == [w.tobytes() for w in again.get_weights()]
    assert first.get_weights()[0].tobytes() != other.get_weights()[0].tobytes()


@pytest.mark.parametrize("patience", [0, 1])
def test_images_that_lie_on_the_device_train_the_same_network(patience: int) -> None:
    how: dict[str, Any] = {"augment": AUGMENT, "patience": patience}
    (here, rows), (there, rows_there) = fit(**how), fit(**how, on_device=True)
    for expected, weights in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert rows_there[-1] == pytest.approx(rows[-1], abs=1e-3)


def test_early_stopping_ends_the_run_and_restores_the_best_weights() -> None:
    model, rows = fit(epochs=40, patience=1, learning_rate=0.05, schedule="constant")
    assert len(rows) < 40
    best = min(rows, key=lambda row: row["validation_loss"])
    logits = model.predict(VALIDATION.images, verbose=0)
    loss = float(
        keras.ops.mean(keras.losses.sparse_categorical_crossentropy(VALIDATION.labels, logits, from_logits=True))
    )
    assert loss == pytest.approx(best["validation_loss"], abs=1e-5)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 1e9), ("adamw", 1e30)])
def test_training_that_diverges_is_named_and_stopped(optimizer: str, rate: float) -> None:
    with pytest.raises(fitting.DivergedError, match="epoch 1: loss and weights must stay finite; received"):
        fit(optimizer=optimizer, learning_rate=rate, schedule="constant", epochs=1)


def test_weights_that_are_finite_and_too_large_to_compute_with_are_refused() -> None:
    """After a single update the loss was that of the first weights, and the new ones, of 1e10, are finite."""
    only: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e10, "schedule": "constant", "epochs": 1}
    with pytest.raises(fitting.DivergedError, match="epoch 1: loss and weights must stay finite; received train_loss"):
        fit(batch_norm=False, batch_size=len(TRAIN), **only)


def test_without_the_check_a_training_that_diverges_would_end_with_such_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "_refuse_divergence", lambda *_: None)
    diverged, _ = fit(learning_rate=1e30, schedule="constant", epochs=1)
    assert not all(np.isfinite(weights).all() for weights in diverged.get_weights())


def rates(schedule: str, warmup: float = 0.25, steps: int = 100) -> list[float]:
    made = fitting.learning_rate(Train(**{**RECIPE, "schedule": schedule, "warmup": warmup}), steps)
    if isinstance(made, float):
        return [made] * steps
    return [float(keras.ops.convert_to_numpy(made(step))) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_schedules_rise_to_the_peak_and_end_near_zero(schedule: str) -> None:
    values = rates(schedule)
    peak = int(np.argmax(values))
    assert max(values) == pytest.approx(0.01, rel=0.05)
    assert 22 <= peak <= 26
    assert (np.diff(values[:peak]) > 0).all()
    assert (np.diff(values[peak + 1 :]) < 0).all()
    assert 0 <= values[-1] < 0.0002
    assert rates(schedule, warmup=0)[0] == pytest.approx(0.01)


def test_a_constant_schedule_ignores_the_warmup() -> None:
    assert set(rates("constant")) == {0.01}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_normalization(optimizer: str) -> None:
    recipe = Train(**{**RECIPE, "optimizer": optimizer, "schedule": "constant", "learning_rate": 0.1})
    made = fitting.optimizer(recipe, weight_decay=0.5, steps=10)
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("kernel", "bias", "gamma", "beta")]
    made.build(variables)
    made.apply([keras.ops.zeros(3)] * 4, variables)
    values = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
    assert values == pytest.approx([0.95, 1.0, 1.0, 1.0])


class Cut(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.mark.parametrize(
    ("recipe", "cut_after"),
    [
        ({"epochs": 4}, 3),
        ({"epochs": 4, "optimizer": "sgd", "learning_rate": 0.05, "schedule": "cosine"}, 1),
        ({"epochs": 9, "patience": 2, "learning_rate": 0.05, "schedule": "constant"}, 3),
    ],
)
def test_a_training_that_goes_on_ends_with_the_same_bits(recipe: dict[str, Any], cut_after: int) -> None:
    whole, rows = fit(augment=AUGMENT, **recipe)
    states: list[State] = []

    def cut(state: State) -> None:
        states.append(state)
        if len(states) == cut_after:
            raise Cut

    with pytest.raises(Cut):
        fit(augment=AUGMENT, keep=cut, **recipe)
    resumed, rows_again = fit(augment=AUGMENT, start=states[-1], **recipe)
    assert len(states[-1].rows) == cut_after
    assert rows_again == rows
    for expected, weights in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("lost", ["optimizer", "random state", "early stopping"])
def test_a_state_that_lacks_a_part_ends_elsewhere(lost: str) -> None:
    recipe: dict[str, Any] = {"epochs": 9, "patience": 2, "learning_rate": 0.05, "schedule": "constant"}
    states: list[State] = []
    whole, rows = fit(augment=AUGMENT, keep=states.append, **recipe)
    state, network_variables = states[len(rows) - 2], whole.variables
    kept = list(state.variables)
    for place, variable in enumerate(network_variables):
        if lost == "random state" and "seed" in variable.path:
            kept[place] = np.zeros_like(kept[place])
    if lost == "optimizer":
        kept[len(network_variables) :] = [np.zeros_like(value) for value in kept[len(network_variables) :]]
    stopping = {} if lost == "early stopping" else state.stopping
    resumed, rows_again = fit(augment=AUGMENT, start=replace(state, variables=kept, stopping=stopping), **recipe)
    same = all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True))
    assert not (same and rows_again == rows)


def test_a_finished_training_leaves_no_state_behind_it() -> None:
    states: list[State] = []
    fit(epochs=3, keep=states.append)
    assert [len(state.rows) for state in states] == [1, 2]
