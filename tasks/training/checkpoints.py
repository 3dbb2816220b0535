"""Checkpoints of a training, so that a killed run is resumed where it stopped.

One folder for each combination of parameters, data and code, so that changed inputs never resume. It holds the states
after the two newest epochs, each written under a temporary name and renamed once it is whole on the disk. A
checkpoint that does not match its digest is passed over. The folders lie outside every output of DVC; in the worktree
of an isolated run the parent folder is a link to that of the checkout that started the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from tasks.run.outputs import atomic_outputs
from tasks.training.state import TrainingState

FOLDER = Path(".checkpoints")
KEPT = 2
UNUSED_SECONDS = 30 * 24 * 3600  # 30 days, after which a training's checkpoints are removed
PACKAGES = ("keras", "tensorflow", "jax", "numpy")


def key(blocks: Iterable[BaseModel], data: Iterable[Path], machine: str) -> str:
    """Digest all that determines a training: parameters, data, code, libraries, the machine's settings."""
    installed = {package.name: package.version for package in metadata.distributions() if package.name in PACKAGES}
    settings = [*(block.model_dump_json() for block in blocks), json.dumps(installed, sort_keys=True), machine]
    digest = hashlib.sha256("\n".join(settings).encode())
    for file in (*sorted(data), *sorted(Path(__file__).parent.rglob("[!.]*.py"))):  # editors lock files by dotted links
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]  # control: checkpoint key


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, key: str):
        self.folder = FOLDER / key
        for other in self.folder.parent.glob("*"):
            with suppress(FileNotFoundError):  # another training has just removed its own
                if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)

    def save(self, state: TrainingState) -> None:
        """Write a state, then drop all but the newest ones. Where that fails, training goes on without it."""
        try:
            _write_state(state, self.folder / f"epoch-{len(state.rows):05}")
            for old in self._newest_first()[KEPT:]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            # control: training without checkpoints
            print(f"the checkpoint of epoch {len(state.rows)} could not be written: {error}")

    def newest(self) -> TrainingState | None:
        """Read the newest state that is whole; None where there is none."""
        for folder in self._newest_first():
            try:
                return read(folder)
            except (OSError, ValueError) as error:
                # control: checkpoint before a damaged one
                print(f"checkpoint {folder.name} is damaged and passed over: {error}")
        return None

    def remove(self) -> None:
        """Remove all of them, once the training's outputs are published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def read(folder: Path) -> TrainingState:
    """Read the state in the folder of one epoch.

    Raises
    ------
    OSError, ValueError
        If it is not what was written.
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
    """Put a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
