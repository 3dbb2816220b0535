"""A training after some epochs: what goes from `fit` to a checkpoint and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Row = dict[str, float]


@dataclass(frozen=True)
class State:
    """All that the rest of a training depends on, besides its inputs.

    The order of images and their augmentation follow from the epoch, the schedule from the optimizer's own
    count of updates, and dropout from seeds that are among the network's variables.
    """

    rows: list[Row]
    variables: list[NDArray[Any]]  # of the network, then of the optimizer
    stopping: dict[str, float]  # early stopping's memory; empty where it is off
    best: list[NDArray[Any]]  # its best weights
