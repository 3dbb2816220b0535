"""A probe: the logits of a frozen network, fitted as multinomial logistic regression on its features.

The features are centred and divided by one common scale, and not each by its own deviation. A deviation of a few
images says little, and a feature that hardly varies in them would be blown up in others. With 2 CIFAR-10 images a
class and the features of EfficientNet-Lite0 at 96 pixels, the common scale reached 46.7 % on held-out images and
deviations 38.7 % (5 draws of the images); with 200 a class and more both were equal.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

STRENGTHS = tuple(10.0 ** (half / 2) for half in range(2, -9, -1))  # from the strongest, 10, to 0.0001
FIXED_STRENGTH = 0.1  # where no image can be held out; about what 20 to 500 images a class ended with
FOLDS = 5
# Of the gradient. The search needs no more to find the same strength, in half of the time.
SEARCH_TOLERANCE, TOLERANCE = 1e-3, 1e-4
MAX_ITERATIONS = 1_000

Features = NDArray[np.float32]
Labels = NDArray[np.int32]


class Head(NamedTuple):
    """A dense layer from features to logits.

    Attributes
    ----------
    kernel : ndarray of shape (n_features, n_classes), dtype=float32
    bias : ndarray of shape (n_classes,), dtype=float32
    strength : float
        Of the L2 penalty that it was fitted with.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float


def fit_head(
    features: Features,
    labels: Labels,
    n_classes: int,
    seed: int,
    class_weights: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> Head:
    """Fit logistic regression, with the strength that cross-validation chooses.

    It minimizes the mean cross-entropy + strength / 2 × the sum of squares of the kernel (strength × that sum with two
    classes), in which features have a mean of 0 and a mean variance of 1. The result depends neither on `threads` nor
    on the order of the threads.

    Parameters
    ----------
    features : ndarray of shape (n, n_features), dtype=float32
        Of the training images.
    labels : ndarray of shape (n,), dtype=int32
    n_classes : int
        A class without images is never predicted.
    seed : int
        Draws the folds.
    class_weights : ndarray of shape (n_classes,), optional
        The weight of an image of each class, in the fit and in the choice of the strength.
    threads : int
        Folds that are fitted at once, each on one.

    Raises
    ------
    ValueError
        If a feature or a weight is not finite, or the images are of fewer than two classes.
    """
    if not np.isfinite(features).all():
        raise ValueError("the features of the network must be finite numbers; received NaN or infinity")
    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError(f"training images must be of two classes or more; received {len(present)}")
    mean = features.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(features.var(axis=0, dtype=np.float64).mean()) or 1.0
    scaled = ((features - mean) / scale).astype(np.float32)
    weights = np.ones(len(labels), np.float32) if class_weights is None else class_weights[labels]
    # Threads of one matrix product would wait for each other in products as small as these, and decide the last bits.
    with threadpool_limits(1):
        strength = _best_strength(scaled, labels, weights, seed, threads)
        regression = _fit(_regression(TOLERANCE), scaled, labels, weights, strength)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:  # scikit-learn gives the difference of the two logits
        coefficients, intercepts = np.outer([-0.5, 0.5], coefficients), np.outer([-0.5, 0.5], intercepts)[:, 0]
    # The logits of the classes that are present sum to 0, so one of them is always above that of an absent one.
    kernel, bias = np.zeros((features.shape[1], n_classes)), np.full(n_classes, -np.log(len(labels)))
    kernel[:, present] = coefficients.T / scale
    bias[present] = intercepts - mean @ kernel[:, present]
    head = Head(kernel.astype(np.float32), bias.astype(np.float32), strength)
    if not (np.isfinite(head.kernel).all() and np.isfinite(head.bias).all()):
        raise ValueError("the weights of a probe must be finite; the features of the network are too large for them")
    return head


def _best_strength(features: Features, labels: Labels, weights: NDArray[np.float32], seed: int, threads: int) -> float:
    """Choose the strength of least held-out cross-entropy, from strong to weak.

    It falls and then rises, so the search ends where it no longer falls: the weak ones take the longest to fit.
    """
    folds = [(*fold, _regression(SEARCH_TOLERANCE)) for fold in _folds(labels, seed)]
    best, least = FIXED_STRENGTH, np.inf
    with Parallel(n_jobs=threads, prefer="threads") as parallel:
        for strength in STRENGTHS if folds else ():
            losses = parallel(delayed(_held_out_loss)(features, labels, weights, strength, *fold) for fold in folds)
            if sum(losses) >= least:
                break
            best, least = strength, sum(losses)
    return best


def _folds(labels: Labels, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw the folds, stratified: the rows that each fits, and the rows that it holds out.

    A class of one image is never held out, since no other could stand for it. There are as many folds as the largest
    class has images, up to five; none where no class has two.
    """
    counts = np.bincount(labels)
    n_folds = min(FOLDS, int(counts.max()))
    if n_folds < 2:
        return []
    rows = np.arange(len(labels))
    repeated = rows[counts[labels] > 1]
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # some folds then hold out none of it
        held_out = [repeated[part] for _, part in folds.split(repeated, labels[repeated])]
    return [(np.setdiff1d(rows, part), part) for part in held_out]


def _regression(tolerance: float) -> LogisticRegression:
    return LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, warm_start=True)


def _fit(
    regression: LogisticRegression,
    features: Features,
    labels: Labels,
    weights: NDArray[np.float32],
    strength: float,
) -> LogisticRegression:
    """Fit, from where the regression stands."""
    regression.C = 1 / (strength * float(weights.sum(dtype=np.float64)))  # of scikit-learn's sum over images
    return regression.fit(features, labels, weights)


def _held_out_loss(
    features: Features,
    labels: Labels,
    weights: NDArray[np.float32],
    strength: float,
    fitted: NDArray[np.int64],
    held_out: NDArray[np.int64],
    regression: LogisticRegression,
) -> float:
    """Fit the rows of a fold, and sum the cross-entropies of those that it holds out."""
    _fit(regression, features[fitted], labels[fitted], weights[fitted], strength)
    scores = regression.decision_function(features[held_out]).astype(np.float64)
    if scores.ndim == 1:  # of two classes: the difference of their logits
        scores = np.stack([-scores / 2, scores / 2], axis=1)
    columns = np.searchsorted(regression.classes_, labels[held_out])
    losses = -log_softmax(scores, axis=1)[np.arange(len(columns)), columns]
    return float(weights[held_out] @ losses)
