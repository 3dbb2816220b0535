"""The state of a training between two epochs, which `fit` gives to a checkpoint and resumes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Row = dict[str, float]


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on, besides its inputs.

    The rest needs no place here. The order of the images and their augmentation follow from the epoch, the learning
    rate from the optimizer's own count of updates, and dropout from seeds among the model's variables.

    Attributes
    ----------
    rows : list of dict
        The history so far, a row per epoch.
    variables : list of ndarray
        Those of the model, then those of the optimizer.
    stopping : dict
        Counters of early stopping; empty where it is off.
    best : list of ndarray
        The weights of the best epoch, which early stopping restores; empty where it is off.
    """

    rows: list[Row]
    variables: list[NDArray[Any]]
    stopping: dict[str, float]
    best: list[NDArray[Any]]
