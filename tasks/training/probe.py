"""The probe of a pretrained network: its logits, fitted on the features of its other layers, which stay as they are."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from tasks import errors
from tasks.data.arrays import Labels
from tasks.device.backend import keras
from tasks.params.train import Train
from tasks.training.batches import Split, balanced_weights, train_eval_subset
from tasks.training.features import Features, features
from tasks.training.history import Scores, history_row, score
from tasks.training.logistic_regression import fit_head
from tasks.training.state import Row


class Probe:
    """The features and the logits of a network.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits.
    key : str
        Of all that decides the features of an image, besides its pixels.
    """

    def __init__(self, model: keras.Model, key: str):
        self.model, self.logits = model, model.get_layer("logits")
        self.features_of = partial(features, keras.Model(model.input, self.logits.input), key=key)

    def fit(self, training: Split, train_params: Train, threads: int) -> None:
        """Fit the logits on training images.

        Raises
        ------
        tasks.errors.RefusedError
            If the network has a weight, or gives a feature, that is not a finite number.
        """
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise errors.RefusedError(
                    f"backbone in dvc.yaml must have finite weights; received others: {weight.path}"
                )
        self.fitted_on = self.features_of(training.images)
        n_classes, started = self.model.output_shape[-1], time.perf_counter()
        weights = balanced_weights(training.labels, n_classes) if train_params.class_weight == "balanced" else None
        try:
            head = fit_head(self.fitted_on, training.labels, n_classes, train_params.seed, weights, threads)
        except ValueError as error:
            raise errors.RefusedError(str(error)) from error
        self.logits.set_weights([head.kernel, head.bias])
        print(f"probe: strength {head.strength:.2g}, fitted in {time.perf_counter() - started:.1f} s")

    def score(self, training: Split, validation: Split | None, seed: int) -> Row:
        """Score the logits on the images that an epoch of a training is scored on."""
        subset = train_eval_subset(training, validation, seed)
        row = history_row(
            epoch=1,
            train=self._score(self.fitted_on[subset.images.rows], subset.labels),
            validation=self._score(self.features_of(validation.images), validation.labels) if validation else None,
            learning_rate=0.0,
        )
        print("epoch 1/1  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"))
        return row

    def _score(self, values: Features, labels: Labels) -> Scores:
        return score(keras.ops.convert_to_numpy(self.logits(values)), labels)
