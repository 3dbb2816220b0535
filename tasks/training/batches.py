"""Batches of training images: shuffled and augmented, with one-hot labels, or mixtures of them.

There are two ways to feed a model. `Batches` changes the images in the host's memory. `IndexBatches` gives indices and
what changes, for a model that holds the images in the device's memory. Both show it the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment
from tasks.training.augmentation import Change, Transforms, apply_transforms, sample_cutout, sample_transforms
from tasks.training.colour import sample_colour_jitter
from tasks.training.device_dataset import with_device_dataset
from tasks.training.mixing import sample_mixing


@dataclass(frozen=True)
class ImageRows:
    """Some rows of images, which are read when a slice is: the images may be larger than memory."""

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        return self.images[self.rows[part]]


@dataclass(frozen=True)
class Split:
    """Images of shape (n, height, width, 3), uint8, and their labels of shape (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


class Subset(NamedTuple):
    """Some images of a split, and their labels."""

    images: ImageRows
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


def train_eval_subset(train: Split, validation: Split | None, seed: int) -> Subset:
    """Choose the training images that every epoch is scored on: as many as validation has.

    The running average that Keras reports for an epoch has dropout and augmentation in it, and would make the gap to
    validation a fiction.
    """
    n = min(len(train), len(validation) if validation else 5_000)
    rows = np.sort(np.random.default_rng([seed, 0x9806E]).permutation(len(train))[:n])
    return Subset(ImageRows(train.images, rows), train.labels[rows])


def balanced_weights(labels: NDArray[np.int32], n_classes: int) -> NDArray[np.float32]:
    """Weigh each class by the inverse of its share, so that all classes count the same and images once on average.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    n_classes : int

    Returns
    -------
    ndarray of shape (n_classes,)
        0 for a class without images.
    """
    from sklearn.utils.class_weight import compute_class_weight  # takes a second, and few trainings weigh classes

    weights = np.zeros(n_classes, np.float32)
    present = np.unique(labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


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
    class_weights : ndarray of shape (n_classes,), optional
        The weight of an image of each class in the loss, which each batch then gives as its third part.
    """

    # With one, Keras leaves it to TensorFlow's autotuning, whose end makes an epoch take up to twice its time. On JAX
    # it looks at the first batches and starts over, and with more than one would then hand out stale ones.
    WORKERS = 2 if keras.backend.backend() == "tensorflow" else 1

    def __init__(
        self,
        train: Split,
        n_classes: int,
        batch_size: int,
        augment: Augment,
        seed: int,
        epoch: int = 0,
        class_weights: NDArray[np.float32] | None = None,
    ):
        super().__init__(workers=self.WORKERS)
        self.images, self.labels = train.images, train.labels
        self.n_classes, self.class_weights = n_classes, class_weights
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self.flipped_in_even_epochs = np.random.default_rng([seed, 0xF11B]).random(len(train)) < 0.5
        self._start(epoch)

    def _start(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        indices = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, step])
        flip_parity = self.flipped_in_even_epochs[indices] ^ bool(self.epoch % 2)
        n, shape = len(indices), self.images.shape[1:3]
        transforms = sample_transforms(self.augment, rng, flip_parity, shape)
        colours = sample_colour_jitter(self.augment, rng, n)
        cutout = sample_cutout(self.augment, rng, n, shape)
        mixing = sample_mixing(self.augment, rng, n, shape)
        changes: list[Change] = [change for change in (colours, cutout, mixing) if change is not None]
        targets = self._targets(self.labels[indices])
        if mixing is not None:
            targets = [mixing.blend(target) for target in targets]
        return self._inputs(indices, transforms, changes), *targets

    def _targets(self, labels: NDArray[np.int32]) -> list[NDArray[np.float32]]:
        """Give the one-hot labels, and the weights where classes have them."""
        one_hot = np.zeros((len(labels), self.n_classes), np.float32)
        one_hot[np.arange(len(labels)), labels] = 1
        return [one_hot] if self.class_weights is None else [one_hot, self.class_weights[labels]]

    def _inputs(self, indices: NDArray[np.int64], transforms: Transforms, changes: list[Change]) -> Any:
        images = apply_transforms(self.images, indices, transforms)
        for change in changes:
            images = change.apply(images)
        return images

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
    """Give indices and what changes, `(indices, transforms, changes)`, in place of pixels.

    The wrapped model holds the images in the device's memory. A CPU would only hold them twice.
    """

    def _inputs(self, indices: NDArray[np.int64], transforms: Transforms, changes: list[Change]) -> Any:
        return indices.astype(np.int32), transforms, tuple(changes)

    def wrap(self, model: keras.Model) -> keras.Model:
        return with_device_dataset(model, self.images, self[0][0])

    @property
    def steps_per_execution(self) -> int:
        return len(self)  # so that the device waits for the host once an epoch
