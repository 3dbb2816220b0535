"""Writes and reads reports/predictions.npz: what a model says of every image.

labels, probabilities         of the test images, in file order; int32 of shape (n,), float64 of shape (n, n_classes)
{split}_probabilities         of the images of another split, whose labels data/normalized has
classes                       the names of the classes, in the order of their labels
images                        the MD5 of the test images
n_parameters                  how many the model has

flows/results/comparison.py reads what is on test, also of earlier commits, which have the rest nowhere.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks import errors
from tasks.metrics.per_sample import Labels, Probabilities
from tasks.metrics.primary import Predicted


class Predictions(NamedTuple):
    """What the file holds for the report."""

    y_prob: dict[str, Probabilities]  # by split
    n_parameters: int


def write(
    path: Path, predicted: Mapping[str, Predicted], class_names: Sequence[str], images: str, n_parameters: int
) -> None:
    """Write the predictions of a model.

    Parameters
    ----------
    path : Path
    predicted : mapping of str to Predicted
        By split.
    class_names : sequence of str
    images : str
        The MD5 of the test images.
    n_parameters : int
        Of the model.
    """
    others: dict[str, Any] = {_key(split): y_prob for split, (_, y_prob) in predicted.items() if split != "test"}
    np.savez_compressed(
        path,
        labels=predicted["test"].y_true,
        probabilities=predicted["test"].y_prob,
        classes=class_names,
        images=images,
        n_parameters=n_parameters,
        **others,
    )


def read(path: Path, y_true: Mapping[str, Labels], n_classes: int) -> Predictions:
    """Read the predictions for the labels of each split.

    Raises
    ------
    tasks.errors.RefusedError
        If the file is damaged, or has not a probability of each class for each label.
    """
    try:
        with np.load(path) as saved:
            y_prob = {split: saved[_key(split)] for split in y_true}
            n_parameters = int(saved["n_parameters"])
        for split, labels in y_true.items():
            if y_prob[split].shape != (len(labels), n_classes):
                raise ValueError(f"received {y_prob[split].shape} for {len(labels):,} {split} labels")
    except (ValueError, LookupError, EOFError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        rule = f"must hold probabilities of {n_classes} classes for each label"
        raise errors.RefusedError(f"{path} {rule}: {error}; `make doctor` restores it, or `dvc repro` does") from error
    return Predictions(y_prob, n_parameters)


def _key(split: str) -> str:
    return "probabilities" if split == "test" else f"{split}_probabilities"
