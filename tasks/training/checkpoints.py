"""Checkpoints of a training: a killed run resumes where it stopped.

Each combination of parameters, data and code has its own folder, so that changed inputs never resume. It holds the
states after the two newest epochs, each written under a temporary name and renamed once it is complete on the disk. A
checkpoint that does not match its digest is skipped. The folders lie outside every output of DVC; in the worktree of an
isolated run the parent folder is a link to that of the checkout that started the run.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.run.outputs import atomic_outputs

FOLDER = Path(".checkpoints")
KEPT = 2
UNUSED_SECONDS = 30 * 24 * 3600  # 30 days, after which a training's checkpoints are removed
PACKAGES = ("keras", "tensorflow", "jax", "numpy")
TASKS = Path(__file__).parents[1]
TRAINING_CODE = ("train.py", "data", "device", "models", "training")  # the code that stage train depends on


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on, besides its inputs.

    The order of the images and their augmentation follow from the epoch, the learning rate from the optimizer's count
    of updates, and dropout from seeds among the model's variables.

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

    rows: list[dict[str, float]]
    variables: list[NDArray[Any]]
    stopping: dict[str, float]
    best: list[NDArray[Any]]


def cache_key(
    blocks: Iterable[BaseModel], files: Iterable[Path], settings: str, code: Iterable[str] = TRAINING_CODE
) -> str:
    """Digest everything that determines a result.

    `blocks` are its parameters, `files` inputs that count by their content, `settings` those of the machine and others,
    and `code` the files and folders in tasks/ that it depends on.
    """
    installed = {package.name: package.version for package in metadata.distributions() if package.name in PACKAGES}
    lines = [*(block.model_dump_json() for block in blocks), json.dumps(installed, sort_keys=True), settings]
    digest = hashlib.sha256("\n".join(lines).encode())
    for file in (*sorted(files), *_code_files(code)):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]  # control: checkpoint key


def _code_files(code: Iterable[str]) -> list[Path]:
    """List the Python files among files and folders of tasks/."""
    paths = [TASKS / name for name in code]
    inside = [file for path in paths for file in path.rglob("[!.]*.py")]  # editors lock files by dotted links
    return sorted([*inside, *(path for path in paths if path.is_file())])


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
        try:
            _write_state(state, self.folder / f"epoch-{len(state.rows):05}")
            for old in self._newest_first()[KEPT:]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            # control: training without checkpoints
            print(f"the checkpoint of epoch {len(state.rows)} could not be written: {error}")

    def newest(self) -> TrainingState | None:
        """Return the newest intact state, if any."""
        for folder in self._newest_first():
            try:
                return read_checkpoint(folder)
            except (OSError, ValueError) as error:
                # control: checkpoint before a damaged one
                print(f"checkpoint {folder.name} is damaged and skipped: {error}")
        return None

    def remove(self) -> None:
        """Remove all checkpoints, once the training's outputs are published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def read_checkpoint(folder: Path) -> TrainingState:
    """Read the state in the folder of an epoch.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or does not match its digest.
    """
    fields: Any = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    arrays = (folder / "arrays.npz").read_bytes()
    # control: checkpoint digest
    if not isinstance(fields, dict) or fields.pop("sha256", None) != _digest(fields, arrays):
        raise ValueError("it does not match its digest")
    with np.load(BytesIO(arrays)) as saved:
        variables = [saved[f"arr_{n}"] for n in range(len(saved.files))]
    n = fields["n_variables"]
    return TrainingState(fields["rows"], variables[:n], fields["stopping"], variables[n:])


def _write_state(state: TrainingState, folder: Path) -> None:
    buffer = BytesIO()
    np.savez(buffer, *state.variables, *state.best)
    arrays = buffer.getvalue()
    fields = {"rows": state.rows, "stopping": state.stopping, "n_variables": len(state.variables)}
    with atomic_outputs(folder) as (partial,):
        partial.mkdir()
        _write_to_disk(partial / "arrays.npz", arrays)
        _write_to_disk(partial / "state.json", json.dumps({**fields, "sha256": _digest(fields, arrays)}).encode())
        _sync_folder(partial)
    _sync_folder(folder.parent)


def _digest(fields: dict[str, Any], arrays: bytes) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode() + arrays).hexdigest()


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
