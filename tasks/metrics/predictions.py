"""Predictions of a model, and the file reports/predictions.npz, which keeps them.

labels, probabilities  of the test images, in file order; int32 of shape (n,), float64 of shape (n, n_classes)
{split}_probabilities  of the images of another split, whose labels data/normalized has
classes                the names of the classes, in the order of their labels
images, n_parameters   the MD5 of the test images; the number of the model's parameters
{split}_second         with a second opinion: its probabilities of the images of each split
groups                 with folds that hold out the test images: one number for those that belong together
test_ids               a short digest of each test image's file, by which the gate finds it in another test set

Files of earlier commits have neither the other splits nor n_parameters nor test_ids; the gate reads those, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]  # of shape (n,)
Probabilities = NDArray[np.floating[Any]]  # of shape (n, n_classes)
Values = NDArray[np.floating[Any]]
Groups = NDArray[np.int64]  # of shape (n,)
NO_IDS = np.empty(0, np.uint64)
NO_GROUPS = np.empty(0, np.int64)


class Predicted(NamedTuple):
    """The labels of images, and a model's class probabilities for them."""

    y_true: Labels
    y_prob: Probabilities


class Predictions(NamedTuple):
    """The content of the file."""

    y_true: Labels  # of the test images
    y_prob: Mapping[str, Probabilities]  # by split
    class_names: Sequence[str]
    images: str  # the MD5 of the test images
    n_parameters: int  # 0 in a file of an earlier commit
    test_ids: NDArray[np.uint64] = NO_IDS  # none in a file of an earlier commit
    groups: Groups = NO_GROUPS  # none without folds
    second: Mapping[str, Probabilities] = MappingProxyType({})  # by split; none without a second opinion


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the predictions of a model."""
    others: dict[str, Any] = {_key(split): predictions.y_prob[split] for split in predictions.y_prob if split != "test"}
    others |= {f"{split}_second": y_prob for split, y_prob in predictions.second.items()}
    others |= {"groups": predictions.groups} if len(predictions.groups) else {}
    np.savez_compressed(
        path,
        labels=predictions.y_true,
        probabilities=predictions.y_prob["test"],
        classes=predictions.class_names,
        images=predictions.images,
        n_parameters=predictions.n_parameters,
        test_ids=predictions.test_ids,
        **others,
    )


def read_predictions(source: Path | BinaryIO, splits: Sequence[str] = ("test",)) -> Predictions:
    """Read the predictions of a model on some splits.

    Raises
    ------
    ValueError
        If the file is damaged or lacks a split.
    """
    try:
        with np.load(source) as saved:
            return Predictions(
                y_true=saved["labels"],
                y_prob={split: saved[_key(split)] for split in splits},
                class_names=saved["classes"].tolist(),
                images=str(saved["images"]),
                n_parameters=int(saved.get("n_parameters", 0)),
                test_ids=saved.get("test_ids", NO_IDS),
                groups=saved.get("groups", NO_GROUPS),
                second={split: saved[key] for split in splits if (key := f"{split}_second") in saved},
            )
    except FileNotFoundError:
        raise
    except Exception as error:  # damage ends as BadZipFile, zlib.error, RuntimeError, OSError and more
        raise ValueError(str(error)) from error


def _key(split: str) -> str:
    return "probabilities" if split == "test" else f"{split}_probabilities"
