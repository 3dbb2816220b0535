"""The images that epochs are scored on, and class weights."""

import numpy as np

from tasks.training.image_splits import Splits, class_weights, train_eval_subset
from tests.support.training import TRAIN, VALIDATION, train_params


def test_train_eval_subset_is_fixed_and_as_large_as_validation() -> None:
    splits = Splits(TRAIN, VALIDATION)
    subset, again = (train_eval_subset(splits, seed=0) for _ in range(2))
    assert len(subset) == len(VALIDATION)
    np.testing.assert_array_equal(subset.images[:], again.images[:])
    assert not np.array_equal(subset.images[:], train_eval_subset(splits, seed=1).images[:])


def test_balanced_weights_make_all_classes_count_the_same() -> None:
    labels = np.repeat(np.array([0, 1, 3], np.int32), [60, 30, 10])
    weights = class_weights(labels, 4, train_params(class_weight="balanced"))
    assert weights is not None
    assert weights[2] == 0
    np.testing.assert_allclose([weights[label] * (labels == label).sum() for label in (0, 1, 3)], 100 / 3, rtol=1e-6)
    assert class_weights(labels, 4, train_params()) is None
