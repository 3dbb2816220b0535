"""The images that epochs are scored on, and class weights."""

import numpy as np

from tasks.training.image_splits import Splits, class_weights, train_eval_rows
from tests.support.training import TRAIN, VALIDATION, train_params


def test_as_many_train_images_as_validation_has_are_scored() -> None:
    first, again, other = (train_eval_rows(Splits(TRAIN, VALIDATION), seed).tolist() for seed in (0, 0, 1))
    assert len(set(first)) == len(VALIDATION)
    assert first == again != other


def test_balanced_weights_make_all_classes_count_the_same() -> None:
    labels = np.repeat(np.array([0, 1, 3], np.int32), [60, 30, 10])
    weights = class_weights(labels, 4, train_params(class_weight="balanced"))
    assert weights is not None
    assert weights[2] == 0
    np.testing.assert_allclose([weights[label] * (labels == label).sum() for label in (0, 1, 3)], 100 / 3, rtol=1e-6)
    assert class_weights(labels, 4, train_params()) is None
