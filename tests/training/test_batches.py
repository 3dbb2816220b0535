"""Batches: each image once, drawn by seed, epoch and step."""

import hashlib

import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from tests.support.training import EVERY_AUGMENT, TRAIN, batches


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    plain = batches({})
    sizes = [len(plain[step][0]) for step in range(len(plain))]
    assert sizes == [64, 64, 64, 64, 44]
    shown = np.concatenate([plain[step][0] for step in range(len(plain))])
    assert sorted(map(bytes, shown)) == sorted(map(bytes, TRAIN.images))

    images, one_hot = plain[1]
    bright = images.min(axis=(1, 3)).argmax(axis=1) // 3
    np.testing.assert_array_equal(one_hot.argmax(axis=1), bright)
    assert one_hot.sum() == 64


def test_two_alternating_epochs_show_both_sides_of_each_image() -> None:
    shown: set[bytes] = set()
    for epoch in (0, 1):
        turning = batches({"flip": "alternating"}, epoch=epoch)
        shown |= {image.tobytes() for step in range(len(turning)) for image in turning[step][0]}
    assert shown == {side.tobytes() for image in TRAIN.images for side in (image, image[:, ::-1])}


def test_a_batch_depends_on_seed_epoch_and_step_alone() -> None:
    walked, jumped = (batches(EVERY_AUGMENT, epoch=epoch) for epoch in (0, 1))
    first, _ = walked[2], walked[1]
    walked.on_epoch_end()
    for result, expected in zip(walked[2], jumped[2], strict=True):
        np.testing.assert_array_equal(result, expected)
    for other in (first, jumped[1], batches(EVERY_AUGMENT, seed=1, epoch=1)[2]):
        assert not np.array_equal(other[0], jumped[2][0])


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
    """Published weights rest on the draws of earlier code, digested here."""
    shown = hashlib.sha256()
    for epoch in (0, 1):
        fed = batches(how, 3, epoch, np.arange(10, dtype=np.float32))
        for step in range(len(fed)):
            for part in fed[step]:
                shown.update(part.tobytes())
    assert shown.hexdigest() == digest


def test_mixed_batches_have_soft_labels_and_mixed_weights() -> None:
    weights = np.arange(10, dtype=np.float32)
    images, labels, image_weights = batches({"mixup": 1.0}, class_weights=weights)[0]
    assert images.dtype == np.uint8
    assert (labels.max(axis=1) < 0.9).sum() > 30
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(image_weights, labels @ weights, atol=1e-5)
    lines = images[:, 0, ::3, :].max(axis=2)[:, :10] / 255  # a class is the column of a bright line
    assert np.abs(lines - labels).max() < 0.13  # 30 / 255 of noise beside the lines


def test_threads_prepare_batches_without_autotuning() -> None:
    adapter = PyDatasetAdapter(batches({}))
    assert adapter.enqueuer is not None
    assert not adapter.get_tf_dataset().options().autotune.enabled


def test_class_weights_are_the_third_part_of_a_batch() -> None:
    _, one_hot, image_weights = batches({}, class_weights=np.arange(10, dtype=np.float32))[0]
    np.testing.assert_array_equal(image_weights, one_hot.argmax(axis=1))
    assert len(batches({})[0]) == 2
