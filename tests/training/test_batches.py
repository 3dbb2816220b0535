"""Batches: every image once, and an order that depends on seed, epoch and step alone."""

import hashlib

import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from tasks.params.regularize import Augment
from tasks.training.batches import Batches, balanced_weights, train_eval_subset
from tests.support.training import AUGMENT, EVERY_AUGMENT, PLAIN, TRAIN, VALIDATION


def batches(seed: int = 0, epoch: int = 0) -> Batches:
    return Batches(TRAIN, 10, 64, Augment(**AUGMENT), seed, epoch)


def test_an_epoch_shows_every_image_once() -> None:
    plain = Batches(TRAIN, 10, 64, Augment(**PLAIN), 0)
    sizes = [len(plain[step][0]) for step in range(len(plain))]
    assert sizes == [64, 64, 64, 64, 44]
    shown = np.concatenate([plain[step][0] for step in range(len(plain))])
    assert sorted(map(bytes, shown)) == sorted(map(bytes, TRAIN.images))


def test_labels_travel_with_their_images() -> None:
    images, one_hot = Batches(TRAIN, 10, 64, Augment(**PLAIN), 0)[1]
    bright = images.min(axis=(1, 3)).argmax(axis=1) // 3
    np.testing.assert_array_equal(one_hot.argmax(axis=1), bright)
    assert one_hot.sum() == 64


def test_each_epoch_has_its_own_order_and_transforms() -> None:
    first, second = batches(), batches()
    second.on_epoch_end()
    assert not np.array_equal(first[0][0], second[0][0])


def test_two_alternating_epochs_show_both_sides_of_each_image() -> None:
    shown: set[bytes] = set()
    for epoch in (0, 1):
        turning = Batches(TRAIN, 10, 64, Augment(**{**PLAIN, "flip": "alternating"}), 0, epoch)
        shown |= {image.tobytes() for step in range(len(turning)) for image in turning[step][0]}
    assert shown == {side.tobytes() for image in TRAIN.images for side in (image, image[:, ::-1])}


def test_a_batch_depends_on_seed_epoch_and_step_alone() -> None:
    walked, jumped = batches(), batches(epoch=1)
    walked[3], walked[1]
    walked.on_epoch_end()
    np.testing.assert_array_equal(walked[2][0], jumped[2][0])
    assert not np.array_equal(batches(seed=1)[0][0], batches(seed=0)[0][0])


@pytest.mark.parametrize(
    ("how", "digest"),
    [
        ({"flip": "alternating", "translate": 2}, "d07daa011c734c84679ad874413a7a0dac362586347597275d7d6609096494bd"),
        (
            {"flip": "random", "translate": 2, "cutout": 8},
            "264b2db0811ee2b691e2020e98bf529212cd5a512d704ba6e7317d6c0b713796",
        ),
    ],
)
def test_batches_stay_those_of_before_colour_and_mixing(how: dict[str, str | int], digest: str) -> None:
    """The digests are of the code that had neither: published weights rest on these draws."""
    shown = hashlib.sha256()
    for epoch in (0, 1):
        of_before = Batches(TRAIN, 10, 64, Augment(**{**PLAIN, **how}), 3, epoch, np.arange(10, dtype=np.float32))
        for step in range(len(of_before)):
            for part in of_before[step]:
                shown.update(part.tobytes())
    assert shown.hexdigest() == digest


def test_mixed_batches_have_soft_labels_and_mixed_weights() -> None:
    weights = np.arange(10, dtype=np.float32)
    mixed = Batches(TRAIN, 10, 64, Augment(**{**PLAIN, "mixup": 1.0}), 0, class_weights=weights)
    images, labels, of_images = mixed[0]
    assert images.dtype == np.uint8
    assert (labels.max(axis=1) < 0.9).sum() > 30
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(of_images, labels @ weights, atol=1e-5)
    lines = images[:, 0, ::3, :].max(axis=2)[:, :10] / 255  # a class is the column of a bright line
    assert np.abs(lines - labels).max() < 0.13  # 30 / 255 of noise beside the lines


def test_colour_and_mixing_follow_from_seed_epoch_and_step() -> None:
    walked, jumped = (Batches(TRAIN, 10, 64, Augment(**EVERY_AUGMENT), 0, epoch) for epoch in (0, 1))
    walked[1], walked[0]
    walked.on_epoch_end()
    for found, expected in zip(walked[2], jumped[2], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_threads_prepare_batches_without_autotuning() -> None:
    adapter = PyDatasetAdapter(batches())
    assert adapter.enqueuer is not None
    assert not adapter.get_tf_dataset().options().autotune.enabled


def test_train_eval_subset_is_fixed_and_as_large_as_validation() -> None:
    subset, again = (train_eval_subset(TRAIN, VALIDATION, seed=0) for _ in range(2))
    assert len(subset) == len(VALIDATION)
    np.testing.assert_array_equal(subset.images[:], again.images[:])
    assert not np.array_equal(subset.images[:], train_eval_subset(TRAIN, VALIDATION, seed=1).images[:])


def test_balanced_weights_make_all_classes_count_the_same() -> None:
    labels = np.repeat(np.array([0, 1, 3], np.int32), [60, 30, 10])
    weights = balanced_weights(labels, 4)
    assert weights[2] == 0
    np.testing.assert_allclose([weights[label] * (labels == label).sum() for label in (0, 1, 3)], 100 / 3, rtol=1e-6)
    weighted = Batches(TRAIN, 10, 64, Augment(**PLAIN), 0, class_weights=np.arange(10, dtype=np.float32))
    _, one_hot, of_images = weighted[0]
    np.testing.assert_array_equal(of_images, one_hot.argmax(axis=1))
    assert len(batches()[0]) == 2
