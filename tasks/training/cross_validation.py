"""Cross-validation: a training for each fold, then one of all images.

A fold learns from the images that it does not hold out. Where early stopping watches validation images, the fold sets
some of its own apart; elsewhere its curve shows those that it holds out, which decide nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import mean, median_low

import keras
import numpy as np
from numpy.typing import NDArray

from tasks import errors
from tasks.data.arrays import HELD_OUT, TRAINED, VALIDATED
from tasks.training.checkpoints import Checkpoints, TrainingState
from tasks.training.history import Row
from tasks.training.image_splits import Split, Splits

Weights = list[NDArray[np.float32]]
Fit = Callable[[Splits, Checkpoints], tuple[keras.Model, list[Row]]]


def fit_folds(
    fit: Fit, splits: Iterable[Splits], checkpoints: Sequence[Checkpoints], seed: int
) -> Iterator[TrainingState]:
    """Train each fold, and yield its history and its weights.

    A fold that an earlier, interrupted run ended is not trained again. All start from `seed`, whichever ran before.

    Raises
    ------
    tasks.errors.RefusedError
        If the training of a fold diverges.
    """
    seconds: list[float] = []
    for number, (part, kept) in enumerate(zip(splits, checkpoints, strict=True), start=1):
        fold, state = f"fold {number} of {len(checkpoints)}", kept.finished()
        if state:
            print(f"{fold}: ended in an earlier run")
        else:
            print(f"{fold}: {len(part.train):,} images to learn from")
            started = time.perf_counter()
            keras.utils.set_random_seed(seed)
            try:
                model, rows = fit(part, kept)
            except errors.RefusedError as error:
                raise errors.RefusedError(f"{fold}: {error}") from error
            state = TrainingState(rows, model.get_weights(), {}, [])
            kept.finish(state)
            seconds.append(time.perf_counter() - started)
            left = mean(seconds) * (len(checkpoints) - number + 1)
            print(f"{fold}: ended after {seconds[-1]:.0f} s; {left:.0f} s left, with the training of all images")
        yield state
    keras.utils.set_random_seed(seed)


def split_folds(train: Split, plan: NDArray[np.uint8], with_stopping: bool) -> Iterator[Splits]:
    """Split images as each fold does, `plan` being of shape (n, n_folds)."""
    learnt = [TRAINED] if with_stopping else [TRAINED, VALIDATED]
    watched = VALIDATED if with_stopping else HELD_OUT
    parts = ((np.flatnonzero(np.isin(fold, learnt)), np.flatnonzero(fold == watched)) for fold in plan.T)
    return (Splits(*(Split(train.images[rows], train.labels[rows]) for rows in part)) for part in parts)


def choose_epochs(histories: Sequence[Sequence[Row]]) -> int:
    """Choose the median of the epochs of least validation loss."""
    return median_low(int(min(rows, key=lambda row: row["validation_loss"])["epoch"]) for rows in histories)


def average_curves(histories: Sequence[Sequence[Row]], epochs: int) -> list[Row]:
    """Average each epoch over the folds that reached it."""
    reached = ([rows[epoch] for rows in histories if len(rows) > epoch] for epoch in range(epochs))
    return [{name: round(mean(row[name] for row in rows), 6) for name in rows[0]} for rows in reached]
