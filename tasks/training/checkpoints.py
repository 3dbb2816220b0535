"""Checkpoints of a training: a killed run resumes where it stopped.

Each combination of parameters, data and code has its own folder, so that changed inputs never resume. It holds the
states after the two newest epochs, a file each, renamed once it is complete on the disk. A checkpoint that does not
match its digest is skipped. In the worktree of an isolated run the parent folder is a link to the checkout's.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.run.kept import FOLDER
from tasks.run.outputs import atomic_outputs

KEPT = 2
FINISHED = "finished"  # the file of a fold that ended
UNUSED_SECONDS = 30 * 24 * 3600  # 30 days, after which a training's checkpoints are removed
# The code that stage train depends on.
TRAINING_CODE = ("train.py", "data", "device", "models", "pretrained", "training")


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on, besides its inputs.

    The order of the images and their augmentation follow from the epoch, the learning rate from the optimizer's count
    of updates, and dropout from seeds among the model's variables.
    """

    rows: list[dict[str, float]]  # the history so far
    variables: list[NDArray[Any]]  # of the model, then of the optimizer
    stopping: dict[str, float]  # counters of early stopping; empty where it is off
    best: list[NDArray[Any]]  # the weights that early stopping restores


class Checkpoints:
    """The checkpoints of a training."""

    def __init__(self, key: str):
        self.folder = FOLDER / key
        for other in self.folder.parent.glob("*"):
            with suppress(FileNotFoundError):  # another training has just removed its own
                if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)

    def save(self, state: TrainingState) -> None:
        """Save a state and remove old ones; if that fails, training continues."""
        self._write(state, f"epoch-{len(state.rows):05}", keep=KEPT)

    def newest(self) -> TrainingState | None:
        """Return the newest intact state, if any."""
        return self._read(self._newest_first())

    def finish(self, state: TrainingState) -> None:
        """Save the end of a fold, and remove the states before it."""
        self._write(state, FINISHED, keep=0)

    def finished(self) -> TrainingState | None:
        """Return the end of a fold, if it is there and intact."""
        return self._read(self.folder.glob(FINISHED))

    def _write(self, state: TrainingState, name: str, keep: int) -> None:
        try:
            _write_checkpoint(state, self.folder / name)
            for old in self._newest_first()[keep:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            # control: training without checkpoints
            print(f"the checkpoint of epoch {len(state.rows)} could not be written: {error}")

    def _read(self, paths: Iterable[Path]) -> TrainingState | None:
        for path in paths:
            try:
                return read_checkpoint(path)
            except (OSError, ValueError) as error:
                # control: checkpoint before a damaged one
                print(f"checkpoint {path.name} is damaged and skipped: {error}")
        return None

    def remove(self) -> None:
        """Remove all checkpoints, once the training's outputs are published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def read_checkpoint(path: Path) -> TrainingState:
    """Read the state after an epoch.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or does not match its digest.
    """
    digest, _, content = path.read_bytes().partition(b"\n")
    if digest != hashlib.sha256(content).hexdigest().encode():  # control: checkpoint digest
        raise ValueError("it does not match its digest")
    line, _, arrays = content.partition(b"\n")
    fields = json.loads(line)
    with np.load(BytesIO(arrays)) as saved:
        variables = [saved[f"arr_{n}"] for n in range(len(saved.files))]
    n = fields["n_variables"]
    return TrainingState(fields["rows"], variables[:n], fields["stopping"], variables[n:])


def _write_checkpoint(state: TrainingState, path: Path) -> None:
    """Write a line of digest, a line of fields, and the arrays."""
    fields = {"rows": state.rows, "stopping": state.stopping, "n_variables": len(state.variables)}
    arrays = BytesIO()
    np.savez(arrays, *state.variables, *state.best)
    content = json.dumps(fields).encode() + b"\n" + arrays.getvalue()
    with atomic_outputs(path) as (partial,), partial.open("wb") as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        file.flush()
        os.fsync(file.fileno())
