"""The linear probe: logits fitted on features of frozen layers."""

import time

import numpy as np

from tasks import errors
from tasks.data.arrays import Labels
from tasks.device.backend import keras
from tasks.params.train import Train
from tasks.training.features import Features, Images, compute_features
from tasks.training.history import Row, Scores, make_row, score_logits
from tasks.training.image_splits import Splits, class_weights, train_eval_subset
from tasks.training.logistic_regression import fit_head


class LinearProbe:
    """The logits of a network, fitted on the features below them.

    Parameters
    ----------
    model : keras.Model
        From pixels to logits.
    key : str
        A digest of everything that decides the features of an image, besides its pixels.
    """

    def __init__(self, model: keras.Model, key: str):
        self.model, self.logits, self.key = model, model.get_layer("logits"), key
        self.backbone = keras.Model(model.input, self.logits.input)

    def fit(self, splits: Splits, train_params: Train, threads: int) -> None:
        """Fit the logits on the training images.

        Raises
        ------
        tasks.errors.RefusedError
            If a weight of the network or a feature is not a finite number.
        """
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise errors.RefusedError(
                    f"backbone in dvc.yaml must have finite weights; received others: {weight.path}"
                )
        images, labels = splits.train.images, splits.train.labels
        self.train_features = self._features(images)
        n_classes, started = self.model.output_shape[-1], time.perf_counter()
        weights = class_weights(labels, n_classes, train_params)
        head = fit_head(self.train_features, labels, n_classes, train_params.seed, weights, threads)
        self.logits.set_weights([head.kernel, head.bias])
        print(f"probe: strength {head.strength:.2g}, fitted in {time.perf_counter() - started:.1f} s")

    def score(self, splits: Splits, seed: int) -> Row:
        """Score the logits as an epoch of a training."""
        subset, validation = train_eval_subset(splits, seed), splits.validation
        row = make_row(
            epoch=1,
            train=self._score(self.train_features[subset.images.rows], subset.labels),
            validation=self._score(self._features(validation.images), validation.labels) if validation else None,
            learning_rate=0.0,
        )
        print("epoch 1/1  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"))
        return row

    def _features(self, images: Images) -> Features:
        return compute_features(self.backbone, images, self.key)

    def _score(self, features: Features, labels: Labels) -> Scores:
        return score_logits(keras.ops.convert_to_numpy(self.logits(features)), labels)
