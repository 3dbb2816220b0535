"""Laws that all scores share, and each score against its definition."""

import numpy as np
import pytest
from scipy import special, stats

from tasks.metrics import scores
from tasks.metrics.calibration import BINS
from tasks.metrics.scores import SCORES


def predictions(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Make labels, and probabilities that are better than chance."""
    y_true = np.arange(n) % n_classes
    logits = np.random.default_rng(0).normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[y_true]
    return y_true, special.softmax(logits, axis=1)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_classes", [2, 100])
def test_every_score_keeps_its_range_in_any_order(name: str, n_classes: int) -> None:
    y_true, y_prob = predictions(400, n_classes)
    value = SCORES[name].compute(y_true, y_prob)
    assert value is not None
    assert SCORES[name].lowest <= value <= SCORES[name].highest
    order = np.random.default_rng(1).permutation(len(y_true))
    assert SCORES[name].compute(y_true[order], y_prob[order]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_perfect_prediction_has_the_best_value(name: str, n_classes: int) -> None:
    y_true = np.arange(50) % n_classes
    score = SCORES[name]
    best = score.highest if score.better == "higher" else score.lowest
    assert score.compute(y_true, np.eye(n_classes)[y_true]) == pytest.approx(best, abs=1e-12)


def by_definition(y_true: np.ndarray, y_prob: np.ndarray) -> dict[str, float]:
    """Compute every score from its definition, without scikit-learn."""
    n, classes = len(y_true), range(y_prob.shape[1])
    predicted, confidence = y_prob.argmax(axis=1), y_prob.max(axis=1)
    correct = predicted == y_true
    f1, auc, recall, chance = [], [], [], 0.0
    for label in classes:
        hits = int(((predicted == label) & correct).sum())
        f1.append(2 * hits / ((predicted == label).sum() + (y_true == label).sum()))
        recall.append(hits / (y_true == label).sum())
        chance += (predicted == label).mean() * (y_true == label).mean()
        own, others = y_prob[y_true == label, label], y_prob[y_true != label, label]
        auc.append(stats.mannwhitneyu(own, others).statistic / (len(own) * len(others)))
    error = 0.0
    for bin_ in range(BINS):
        inside = np.minimum((confidence * BINS).astype(int), BINS - 1) == bin_
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return {
        "accuracy": correct.mean(),
        "loss": -np.log(y_prob[range(n), y_true]).mean(),
        "brier": ((y_prob - (y_true[:, None] == np.array(classes))) ** 2).sum(axis=1).mean(),
        "calibration_error": error,
        "top_3_accuracy": np.mean([label in row.argsort()[-3:] for label, row in zip(y_true, y_prob, strict=True)]),
        "balanced_accuracy": np.mean(recall),
        "f1_macro": np.mean(f1),
        "kappa": (correct.mean() - chance) / (1 - chance),
        "roc_auc": np.mean(auc),
    }


@pytest.mark.parametrize("n_classes", [2, 5, 10])
def test_every_score_follows_its_definition(n_classes: int) -> None:
    y_true, y_prob = predictions(1000, n_classes)
    assert scores.compute_all(y_true, y_prob) == pytest.approx(by_definition(y_true, y_prob), abs=1e-9)


def test_an_undefined_score_is_none() -> None:
    y_true, y_prob = np.zeros(4, int), np.tile([1.0, 0.0, 0.0], (4, 1))
    values = scores.compute_all(y_true, y_prob)
    assert {name for name, value in values.items() if value is None} == {"kappa", "roc_auc"}
    assert values["accuracy"] == 1.0
