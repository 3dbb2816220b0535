"""A second opinion on labels, by pretrained features.

A network has learnt some wrong labels of its training images by heart, and does not doubt them. Logistic regression on
the features of EfficientNet-Lite0 is fitted five times, each time without the images that it then judges.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from tasks.pretrained.features import Images
from tasks.pretrained.lite0 import describe

FOLDS = 5
C = 0.005  # scikit-learn's inverse strength of L2; a third and three times of it find as many wrong labels
ITERATIONS = 60  # after which more change the probabilities little

Labels = NDArray[np.int32]
Probabilities = NDArray[np.float64]


def judge_images(splits: Mapping[str, tuple[Images, Labels]], weights: Path) -> dict[str, Probabilities]:
    """Compute class probabilities of images, each from fits without it.

    Parameters
    ----------
    splits : mapping
        By name, images of shape (n, height, width, 3) and labels of shape (n,).
    weights : Path
        The checksum list of EfficientNet-Lite0.
    """
    features = describe([images for images, _ in splits.values()], weights)
    labels = np.concatenate([labels for _, labels in splits.values()])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    features /= features.std() or 1.0
    regression = LogisticRegression(C=C, tol=1e-3, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer images than folds, and of the last iteration
        y_prob = cross_val_predict(
            regression, features, labels, cv=folds, method="predict_proba", n_jobs=joblib.cpu_count()
        )
    sizes = np.cumsum([len(labels) for _, labels in splits.values()])[:-1]
    return dict(zip(splits, np.split(y_prob, sizes), strict=True))
