"""Shuffled, augmented batches of training images, with one-hot or mixed labels."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.params.regularize import Augment
from tasks.params.train import Train
from tasks.training.augmentation import (
    BatchTransform,
    SamplingGrid,
    apply_grid,
    sample_colour_jitter,
    sample_cutout,
    sample_grid,
)
from tasks.training.image_splits import Split
from tasks.training.mixing import sample_mixing


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The shuffled, augmented uint8 batches of an epoch, the first one 0.

    Order and augmentation depend on (seed, epoch, step) alone, so neither Keras' threads nor a resumed run change them.
    The last batch holds the rest. With class weights, (n_classes,), the third part of a batch has those of its images.
    """

    # A single worker would leave the input to TensorFlow's autotuning, whose end makes an epoch take up to twice its
    # time. JAX reads the first batches and starts again, and would get stale ones from more than one worker.
    WORKERS = 2 if keras.backend.backend() == "tensorflow" else 1

    def __init__(
        self,
        train: Split,
        n_classes: int,
        augment: Augment,
        train_params: Train,
        epoch: int = 0,
        class_weights: NDArray[np.float32] | None = None,
    ):
        super().__init__(workers=self.WORKERS)
        self.images, self.labels = train.images, train.labels
        self.n_classes, self.class_weights = n_classes, class_weights
        self.augment, self.batch_size, self.seed = augment, train_params.batch_size, train_params.seed
        self.flipped_in_even_epochs = np.random.default_rng([self.seed, 0xF11B]).random(len(train)) < 0.5
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
        grid = sample_grid(self.augment, rng, flip_parity, shape)
        colours = sample_colour_jitter(self.augment, rng, n)
        cutout = sample_cutout(self.augment, rng, n, shape)
        mixing = sample_mixing(self.augment, rng, n, shape)
        transforms: list[BatchTransform] = [drawn for drawn in (colours, cutout, mixing) if drawn is not None]
        labels = self.labels[indices]
        targets = [(labels[:, None] == np.arange(self.n_classes)).astype(np.float32)]
        if self.class_weights is not None:
            targets.append(self.class_weights[labels])
        if mixing is not None:
            targets = [mixing.blend(target) for target in targets]
        return self._inputs(indices, grid, transforms), *targets

    def _inputs(self, indices: NDArray[np.int64], grid: SamplingGrid, transforms: list[BatchTransform]) -> Any:
        images = apply_grid(self.images, indices, grid)
        for transform in transforms:
            images = transform.apply(images)
        return images

    def on_epoch_end(self) -> None:
        self._start(self.epoch + 1)

    def wrap(self, model: keras.Model) -> keras.Model:
        """Wrap a model to take these batches; pixels need no wrapping."""
        return model

    @property
    def steps_per_execution(self) -> int:
        """Return the number of batches that Keras trains on in one call."""
        return 1
