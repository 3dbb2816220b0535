"""Batches of training images: shuffled and augmented, with one-hot labels.

There are two ways to feed a model. `Batches` changes the images in the host's memory. `IndexBatches` gives indices and
transforms, for a model that holds the images in the device's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.core.augmentation import Transforms, apply_transforms, sample_transforms
from tasks.core.device_dataset import with_device_dataset
from tasks.params.regularize import Augment


@dataclass(frozen=True)
class Split:
    """Images of shape (n, side, side, 3), uint8, and their labels of shape (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


def train_eval_subset(train: Split, validation: Split | None, seed: int) -> Split:
    """Choose the training images that every epoch is scored on: as many as validation has.

    The running average that Keras reports for an epoch has dropout and augmentation in it, and would make the gap to
    validation a fiction.
    """
    n = min(len(train), len(validation) if validation else 5_000)
    rows = np.sort(np.random.default_rng([seed, 0x9806E]).permutation(len(train))[:n])
    return Split(train.images[rows], train.labels[rows])


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Give the images of an epoch in shuffled, augmented uint8 batches.

    Keras prepares the next batches in threads while the current one trains. The order and the augmentation depend on
    (seed, epoch, step) alone, so neither threads nor a resumed run can change them.

    Parameters
    ----------
    train : Split
    n_classes : int
    batch_size : int
        The last batch of an epoch holds the rest.
    augment : Augment
    seed : int
    epoch : int
        The first epoch, counted from 0.
    """

    # With one, Keras leaves it to TensorFlow's autotuning, whose end makes an epoch take up to twice its time. On JAX
    # it looks at the first batches and starts over, and with more than one would then hand out stale ones.
    WORKERS = 2 if keras.backend.backend() == "tensorflow" else 1

    def __init__(self, train: Split, n_classes: int, batch_size: int, augment: Augment, seed: int, epoch: int = 0):
        super().__init__(workers=self.WORKERS)
        self.images, self.labels = train.images, train.labels
        self.one_hot = np.eye(n_classes, dtype=np.float32)
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self.flipped_in_even_epochs = np.random.default_rng([seed, 0xF11B]).random(len(train)) < 0.5
        self._start(epoch)

    def _start(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, step: int) -> tuple[Any, NDArray[np.float32]]:
        indices = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, step])
        flip_parity = self.flipped_in_even_epochs[indices] ^ bool(self.epoch % 2)
        transforms = sample_transforms(self.augment, rng, flip_parity, side=self.images.shape[1])
        return self._inputs(indices, transforms), self.one_hot[self.labels[indices]]

    def _inputs(self, indices: NDArray[np.int64], transforms: Transforms) -> Any:
        return apply_transforms(self.images, indices, transforms)

    def on_epoch_end(self) -> None:
        self._start(self.epoch + 1)

    def wrap(self, model: keras.Model) -> keras.Model:
        """Wrap a model so that it takes these batches; pixels need no wrapping."""
        return model

    @property
    def steps_per_execution(self) -> int:
        """The number of batches that Keras trains on in one call."""
        return 1


class IndexBatches(Batches):
    """Give indices and transforms, `(indices, *transforms)`, in place of pixels.

    The wrapped model holds the images in the device's memory. A CPU would only hold them twice.
    """

    def _inputs(self, indices: NDArray[np.int64], transforms: Transforms) -> Any:
        return indices.astype(np.int32), *transforms

    def wrap(self, model: keras.Model) -> keras.Model:
        return with_device_dataset(model, self.images)

    @property
    def steps_per_execution(self) -> int:
        return len(self)  # so that the device waits for the host once an epoch
