"""Logistic regression finds its strength for any classes and features."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from tasks.errors import RefusedError
from tasks.training import logistic_regression
from tasks.training.image_splits import class_weights
from tasks.training.logistic_regression import STRENGTHS, Head, fit_head
from tests.support.training import train_params

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


def samples(n: int, n_classes: int = 4, noise: float = 1.0, seed: int = 0) -> tuple[Floats, Labels]:
    """Draw features around a centre of each class, on different scales."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % n_classes).astype(np.int32)
    centres = np.random.default_rng(7).normal(size=(n_classes, 30))
    features = (centres[labels] + noise * rng.normal(size=(n, 30))) * np.linspace(0.2, 3, 30) + 5
    return features.astype(np.float32), labels


def logits(head: Head, features: Floats) -> Floats:
    return features @ head.kernel + head.bias


def accuracy(head: Head, features: Floats, labels: Labels) -> float:
    return float(np.mean(logits(head, features).argmax(axis=1) == labels))


def test_the_head_is_scikit_learns_regression_on_raw_features() -> None:
    features, labels = samples(200, noise=2.0)
    head = fit_head(features, labels, 4, seed=0)
    scale = np.sqrt(features.var(axis=0).mean())
    reference = LogisticRegression(C=1 / (head.strength * len(labels)), tol=1e-8, max_iter=9999)
    reference.fit(((features - features.mean(axis=0)) / scale).astype(np.float64), labels)
    expected = reference.predict_proba((features - features.mean(axis=0)) / scale)
    np.testing.assert_allclose(softmax(logits(head, features), axis=1), expected, atol=2e-3)
    assert {array.dtype.name for array in (head.kernel, head.bias)} == {"float32"}
    assert accuracy(head, *samples(400, noise=2.0, seed=1)) > 0.7


def test_noise_gets_the_strongest_penalty_and_plain_classes_a_weak_one() -> None:
    features, labels = samples(200)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    assert fit_head(noise, labels, 4, seed=0).strength == STRENGTHS[0]
    assert fit_head(*samples(200, noise=0.1), 4, seed=0).strength < 0.01


def test_bits_depend_on_neither_the_run_nor_the_threads() -> None:
    features, labels = samples(300)
    first = fit_head(features, labels, 4, seed=3, threads=1)
    for threads in (1, 2):
        again = fit_head(features, labels, 4, seed=3, threads=threads)
        assert again.kernel.tobytes() + again.bias.tobytes() == first.kernel.tobytes() + first.bias.tobytes()


def test_features_that_never_vary_count_for_nothing() -> None:
    features, labels = samples(100)
    constant = np.full((100, 2), 0.1, np.float32)
    head = fit_head(np.hstack([features, constant]), labels, 4, seed=0)
    assert np.isfinite(head.kernel).all()
    np.testing.assert_allclose(head.kernel[-2:], 0, atol=1e-6)
    flat = fit_head(np.ones((100, 5), np.float32), labels, 4, seed=0)
    assert np.abs(logits(flat, np.ones((1, 5), np.float32))).max() < 1e-3


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [([1, 1], False), ([1, 1, 1, 1], False), ([2, 1], True), ([2, 2, 2], True), ([30, 1, 2, 3], True)],
)
def test_classes_with_fewer_images_than_folds_work(
    counts: list[int], chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    features, of = samples(400)
    rows = [np.flatnonzero(of == label)[n] for label, count in enumerate(counts) for n in range(count)]
    monkeypatch.setattr(logistic_regression, "FIXED_STRENGTH", 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = fit_head(features[rows], labels, 4, seed=0)
    assert (head.strength in STRENGTHS) == chosen
    assert accuracy(head, features[rows], labels) == 1


def test_no_image_of_a_single_class_is_held_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2], np.int32)
    folds = logistic_regression._folds(labels, seed=0)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == [0, 1, 2, 3, 4]
    for fitted, held_out in folds:
        assert set(labels[fitted]) == {0, 1, 2}
        assert sorted([*fitted, *held_out]) == list(range(6))


def test_a_class_without_images_is_never_predicted() -> None:
    features, labels = samples(200)
    kept = labels != 2
    head = fit_head(features[kept], labels[kept], 4, seed=0)
    probabilities = softmax(logits(head, 100 * features), axis=1)
    assert (probabilities.argmax(axis=1) != 2).all()
    assert probabilities[:, 2].max() < 1 / kept.sum()
    assert accuracy(head, features[kept], labels[kept]) > 0.9


def test_balanced_weights_find_more_of_a_rare_class() -> None:
    features, labels = samples(1200, n_classes=2, noise=6.0)
    kept = (labels == 0) | (np.arange(1200) < 100)
    rare, test = [], samples(1000, n_classes=2, noise=6.0, seed=1)
    for weights in (None, class_weights(labels[kept], 2, train_params(class_weight="balanced"))):
        head = fit_head(features[kept], labels[kept], 2, seed=0, class_weights=weights)
        rare.append(np.mean(logits(head, test[0][test[1] == 1]).argmax(axis=1)))
    assert rare[1] > rare[0] + 0.2


def test_infinite_features_and_a_single_class_are_refused() -> None:
    features, labels = samples(40)
    features[3, 5] = np.inf
    with pytest.raises(RefusedError, match="features of the network must be finite"):
        fit_head(features, labels, 4, seed=0)
    with pytest.raises(RefusedError, match="must be of two classes or more; received 1"):
        fit_head(samples(40)[0], np.zeros(40, np.int32), 4, seed=0)
