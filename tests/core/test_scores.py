"""Laws that all scores share, each score against an independent computation, and intervals and calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from tasks.core import scores
from tasks.core.scores import SCORES

NAMES = ["cat", "dog", "ship"]
LABELS = np.array([0, 0, 1, 2, 2, 2])
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6]]
)


def draw(n: int = 400, n_classes: int = 5, seed: int = 0, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + skill * np.eye(n_classes)[labels]
    return labels, special.softmax(logits, axis=1)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_classes", [2, 5, 100])
def test_every_score_keeps_its_range_and_does_not_care_about_order(name: str, n_classes: int) -> None:
    labels, probabilities = draw(n_classes=n_classes)
    value = SCORES[name].compute(labels, probabilities)
    assert value is not None
    assert SCORES[name].lowest <= value <= SCORES[name].highest
    order = np.random.default_rng(1).permutation(len(labels))
    assert SCORES[name].compute(labels[order], probabilities[order]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_perfect_prediction_has_the_best_value(name: str, n_classes: int) -> None:
    labels = np.arange(50) % n_classes
    score = SCORES[name]
    best = score.highest if score.better == "higher" else score.lowest
    assert score.compute(labels, np.eye(n_classes)[labels]) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_more_skill_scores_better_than_none(name: str) -> None:
    skilled, blind = (SCORES[name].compute(*draw(2000, skill=skill)) for skill in (2.5, 0.0))
    assert skilled is not None
    assert blind is not None
    assert (skilled > blind) == (SCORES[name].better == "higher")


def by_hand(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every score from its definition, without scikit-learn."""
    n, classes = len(labels), range(probabilities.shape[1])
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    f1, auc, chance = [], [], 0.0
    for label in classes:
        found = int(((predicted == label) & right).sum())
        f1.append(2 * found / ((predicted == label).sum() + (labels == label).sum()))
        chance += (predicted == label).mean() * (labels == label).mean()
        own, others = probabilities[labels == label, label], probabilities[labels != label, label]
        auc.append(stats.mannwhitneyu(own, others).statistic / (len(own) * len(others)))
    error = 0.0
    for bin_ in range(scores.BINS):
        inside = np.minimum((confidence * scores.BINS).astype(int), scores.BINS - 1) == bin_
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return {
        "accuracy": right.mean(),
        "loss": -np.log(probabilities[range(n), labels]).mean(),
        "brier": ((probabilities - (labels[:, None] == np.array(classes))) ** 2).sum(axis=1).mean(),
        "calibration_error": error,
        "top_3_accuracy": np.mean(
            [label in row.argsort()[-3:] for label, row in zip(labels, probabilities, strict=True)]
        ),
        "f1_macro": np.mean(f1),
        "kappa": (right.mean() - chance) / (1 - chance),
        "roc_auc": np.mean(auc),
    }


def test_every_score_is_what_its_definition_gives() -> None:
    for n_classes in (2, 5, 10):
        labels, probabilities = draw(1000, n_classes)
        assert scores.everything(labels, probabilities) == pytest.approx(by_hand(labels, probabilities), abs=1e-9)


@pytest.mark.parametrize("name", [name for name, score in SCORES.items() if score.of_each_image])
def test_a_score_of_each_image_has_the_score_as_its_mean(name: str) -> None:
    labels, probabilities = draw()
    of_each: Callable[..., Any] | None = SCORES[name].of_each_image
    assert of_each is not None
    assert of_each(labels, probabilities).mean() == pytest.approx(SCORES[name].compute(labels, probabilities))


def test_a_score_that_its_images_do_not_define_is_none() -> None:
    labels, probabilities = np.zeros(4, int), np.tile([1.0, 0.0, 0.0], (4, 1))
    found = scores.everything(labels, probabilities)
    assert {name for name, value in found.items() if value is None} == {"kappa", "roc_auc"}
    assert found["accuracy"] == 1.0


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    assert scores.confusion(LABELS, PROBABILITIES).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_the_most_frequent_mistakes_come_first_and_those_never_made_not_at_all() -> None:
    counts = np.array([[9, 1, 0], [4, 9, 2], [0, 0, 9]])
    assert scores.most_confused(counts) == [(1, 0, 4), (1, 2, 2), (0, 1, 1)]
    assert scores.most_confused(counts, 1) == [(1, 0, 4)]
    assert scores.most_confused(np.diag([3, 3])) == []


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    table = scores.per_class(np.array([0, 1]), np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]]), NAMES)
    assert [row["precision"] for row in table] == [0.5, 0.0, 0.0]
    assert [row["support"] for row in table] == [1, 1, 0]


def test_the_report_is_scikit_learns_over_all_classes() -> None:
    expected = metrics.classification_report(
        LABELS, PROBABILITIES.argmax(axis=1), labels=range(3), target_names=NAMES, digits=4, zero_division=0
    )
    assert scores.report(LABELS, PROBABILITIES, NAMES) == expected


def test_an_interval_covers_what_theory_says_and_is_the_same_every_time() -> None:
    right = (np.arange(10_000) % 5 > 0).astype(float)
    low, high = scores.interval_of_mean(right)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 10_000)
    assert (low, high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.001)
    assert scores.interval_of_mean(right) == (low, high)
    assert scores.interval_of_mean(np.ones(10)) == (1.0, 1.0)


def test_the_interval_of_a_gap_adds_the_variances_of_both_sides() -> None:
    train, validation = (np.arange(20_000) % 10 > 0).astype(float), (np.arange(5_000) % 5 > 0).astype(float)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 20_000 + 0.8 * 0.2 / 5_000)
    assert scores.interval_of_gap(train, validation) == pytest.approx((0.1 - error, 0.1 + error), abs=0.002)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again_and_changes_no_prediction(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    honest = special.softmax(rng.normal(scale=2.0, size=(20_000, 4)), axis=1)
    labels = (honest.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)  # drawn from them
    said = scores.with_temperature(honest, 1 / true_temperature)
    found = scores.fit_temperature(labels, said)
    assert found == pytest.approx(true_temperature, rel=0.05)
    mended = scores.with_temperature(said, found)
    np.testing.assert_array_equal(mended.argmax(axis=1), said.argmax(axis=1))
    assert scores.calibration_error(labels, mended) < 0.02
    assert scores.loss(labels, mended) <= scores.loss(labels, said)


def test_a_perfect_model_keeps_its_confidence() -> None:
    assert scores.fit_temperature(np.arange(4), np.eye(4)) == 1.0


def test_reliability_counts_every_image_once_even_a_confidence_above_one() -> None:
    n, accuracy, confidence = scores.reliability(np.array([0, 0, 1]), np.array([[1 + 1e-7, 0], [0.6, 0.4], [0.5, 0.5]]))
    assert n.sum() == 3
    assert (n[-1], accuracy[-1], confidence[-1]) == pytest.approx((1, 1, 1))
    assert np.isnan(accuracy[n == 0]).all()
