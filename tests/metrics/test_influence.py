"""Influences against their definition, and against a bootstrap."""

import numpy as np
import pytest

from tasks.metrics.class_counts import COUNT_METRICS
from tasks.metrics.influence import WITH_INFLUENCE, score_influence
from tasks.metrics.scores import SCORES


def drawn(n: int, n_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Draw predictions that are often right, of all classes but the last."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, n_classes - 1, n)
    y_prob = rng.dirichlet(np.ones(n_classes), n) + 0.5 * np.eye(n_classes)[y_true]
    return y_true, y_prob / y_prob.sum(axis=1, keepdims=True)


def score(name: str, y_true: np.ndarray, y_prob: np.ndarray) -> float:
    return float(SCORES[name].compute(y_true, y_prob) or 0)


def test_every_score_that_may_decide_has_influences() -> None:
    assert set(COUNT_METRICS) <= WITH_INFLUENCE


@pytest.mark.parametrize("name", sorted(WITH_INFLUENCE))
def test_an_influence_is_what_a_little_more_weight_of_the_image_changes(name: str) -> None:
    y_true, y_prob = drawn(30)
    influence = score_influence(name, y_true, y_prob)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    times, before = 500, score(name, y_true, y_prob)
    many = np.tile(np.arange(30), times)
    for image in range(0, 30, 5):
        rows = np.append(many, image)
        assert times * (score(name, y_true[rows], y_prob[rows]) - before) == pytest.approx(influence[image], abs=2e-4)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_their_squares_sum_to_the_variance_of_a_bootstrap(name: str) -> None:
    y_true, y_prob = drawn(400)
    rng = np.random.default_rng(1)
    resamples = (rng.integers(0, 400, 400) for _ in range(1_000))
    scores = [score(name, y_true[rows], y_prob[rows]) for rows in resamples]
    assert np.sqrt((score_influence(name, y_true, y_prob) ** 2).sum()) == pytest.approx(np.std(scores), rel=0.08)
