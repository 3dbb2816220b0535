"""The linear probe: logits fitted on features of frozen layers."""

import time

import numpy as np

from tasks import errors
from tasks.device.backend import keras
from tasks.params.train import Train
from tasks.pretrained.features import compute_features
from tasks.training.history import Row, make_row, score_logits
from tasks.training.image_splits import Splits, class_weights, train_eval_rows
from tasks.training.logistic_regression import fit_head


class LinearProbe:
    """The logits of a network, fitted on features that `key` identifies."""

    def __init__(self, model: keras.Model, key: str):
        self.model, self.logits, self.key = model, model.get_layer("logits"), key
        self.backbone = keras.Model(model.input, self.logits.input)

    def fit(self, splits: Splits, train_params: Train, threads: int) -> None:
        """Fit the logits; refuse weights or features that are not finite."""
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise errors.RefusedError(
                    f"backbone in dvc.yaml must have finite weights; received others: {weight.path}"
                )
        labels, n_classes = splits.train.labels, self.model.output_shape[-1]
        self.train_features = compute_features(self.backbone, splits.train.images, self.key)
        started = time.perf_counter()
        weights = class_weights(labels, n_classes, train_params)
        head = fit_head(self.train_features, labels, n_classes, train_params.seed, weights, threads)
        self.logits.set_weights([head.kernel, head.bias])
        print(f"probe: strength {head.strength:.2g}, fitted in {time.perf_counter() - started:.1f} s")

    def score(self, splits: Splits, seed: int) -> Row:
        """Score the logits as an epoch of a training."""
        rows, validation = train_eval_rows(splits, seed), splits.validation
        scored = [(self.train_features[rows], splits.train.labels[rows])]
        if validation:
            scored.append((compute_features(self.backbone, validation.images, self.key), validation.labels))
        scores = [
            score_logits(keras.ops.convert_to_numpy(self.logits(features)), labels) for features, labels in scored
        ]
        row = make_row(1, scores, learning_rate=0.0)
        print("epoch 1/1  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"))
        return row
