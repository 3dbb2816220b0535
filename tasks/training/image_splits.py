"""The labelled images of a training, and the weights of classes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.params.train import Train


@dataclass(frozen=True)
class ImageRows:
    """Rows of images, read by slices, as images may exceed the memory."""

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        return self.images[self.rows[part]]


@dataclass(frozen=True)
class Split:
    """Images, (n, height, width, 3) uint8, and their labels, (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


class Splits(NamedTuple):
    """The images to train on, and those to validate on, if any."""

    train: Split
    validation: Split | None


def train_eval_rows(splits: Splits, seed: int) -> NDArray[np.int64]:
    """Choose as many training images as validation has, for scoring epochs.

    Keras' running average of an epoch includes dropout and augmentation, so it cannot be compared with validation.
    """
    train, validation = splits
    n = min(len(train), len(validation) if validation else 5_000)
    return np.sort(np.random.default_rng([seed, 0x9806E]).permutation(len(train))[:n])


def class_weights(labels: NDArray[np.int32], n_classes: int, train_params: Train) -> NDArray[np.float32] | None:
    """Weigh each class by the inverse of its share; None without `train.class_weight`.

    The mean over images is 1. A class without images has 0.
    """
    if train_params.class_weight == "none":
        return None
    from sklearn.utils.class_weight import compute_class_weight  # takes a second, and few trainings weigh classes

    weights = np.zeros(n_classes, np.float32)
    present = np.unique(labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights
