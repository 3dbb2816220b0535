"""A second opinion finds labels that are wrong, without having learnt them."""

import numpy as np

from tasks.pretrained.second_opinion import judge_images
from tests.support.arrays import BACKBONE


def test_a_wrong_label_is_doubted_by_what_did_not_learn_it() -> None:
    rng, y_true = np.random.default_rng(0), np.arange(60) % 2
    images = rng.integers(0, 60, (60, 32, 32, 3), dtype=np.uint8)
    images[y_true == 1, 8:24] += 150
    labels = y_true.astype(np.int32)
    labels[[3, 10]] = 1 - labels[[3, 10]]
    y_prob = judge_images({"train": (images[:40], labels[:40]), "test": (images[40:], labels[40:])}, BACKBONE)
    assert {split: p.shape for split, p in y_prob.items()} == {"train": (40, 2), "test": (20, 2)}
    assert (y_prob["train"].argmax(axis=1) == y_true[:40]).all()
