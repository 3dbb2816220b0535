"""The weights of the folds' networks: models/folds.npz.

{fold}_{n}   weight n of a fold, where it differs from the published network's; folds count from 0

Without folds the file holds nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data import arrays
from tasks.data.arrays import HELD_OUT
from tasks.models.inference import predict

Weights = Sequence[NDArray[np.float32]]


def write_fold_weights(path: Path, published: Weights, folds: Sequence[Weights]) -> None:
    """Write what differs between the folds' weights and the published ones."""
    differing = {
        f"{fold}_{n}": weight
        for fold, weights in enumerate(folds)
        for n, (weight, other) in enumerate(zip(weights, published, strict=True))
        if not np.array_equal(weight, other)
    }
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **differing)


def predict_split(
    model: Any, normalized: Path, split: str, images: NDArray[np.uint8], folds_path: Path, **how: Any
) -> NDArray[np.float64]:
    """Predict a split of data/normalized; what folds hold out, by their networks."""
    plan = arrays.folds(normalized)
    if plan is None or split != arrays.held_out_split(normalized):
        return predict(model, images, **how)
    return predict_held_out(model, folds_path, images, plan, **how)


def predict_held_out(
    model: Any, path: Path, images: NDArray[np.uint8], plan: NDArray[np.uint8], **how: Any
) -> NDArray[np.float64]:
    """Predict each held-out image by the fold that held it out.

    Parameters
    ----------
    model : keras.Model
        The published network, which keeps its weights.
    path : Path
        The weights of the folds.
    images : ndarray of shape (n, height, width, 3), dtype=uint8
        Those that are held out, in the order of `plan`.
    plan : ndarray of shape (n_train, n_folds)
        What each fold does with each training image; rows that no fold holds out have no image.

    Returns
    -------
    ndarray of shape (n, n_classes)
    """
    published, rows = model.get_weights(), plan[(plan == HELD_OUT).any(axis=1)]
    y_prob = np.empty((len(images), model.output_shape[-1]))
    try:
        with np.load(path) as saved:
            for fold, does in enumerate(rows.T):
                model.set_weights([saved.get(f"{fold}_{n}", weight) for n, weight in enumerate(published)])
                y_prob[does == HELD_OUT] = predict(model, images[does == HELD_OUT], **how)
    except ValueError as error:
        rule = f"{path} must hold the weights of {rows.shape[1]} folds"
        raise errors.RefusedError(f"{rule}: {error}; `dvc repro` makes it again") from error
    finally:
        model.set_weights(published)
    return y_prob
