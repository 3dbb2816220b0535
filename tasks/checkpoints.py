"""Checkpoints of a training, so that what a kill leaves behind is not lost.

One folder for each combination of parameters, data and code, so that changed inputs never resume; in it the states
after the two newest epochs, each written under a temporary name and renamed when it is whole on the disk. A
checkpoint that does not match its digest is passed over. They lie outside every output of DVC; in the worktree of an
isolated run the folder is a link to that of the checkout which asked for the run.
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

from tasks.core.state import TrainingState

FOLDER = Path(".checkpoints")
KEPT = 2
FORGET_SECONDS = 30 * 24 * 3600  # what nobody went on from in a month
PACKAGES = ("keras", "tensorflow", "jax", "numpy")


def key(blocks: Iterable[BaseModel], data: Iterable[Path], machine: str) -> str:
    """A digest of all that determines a training: parameters, data, code, libraries, the machine's settings."""
    installed = {package.name: package.version for package in metadata.distributions() if package.name in PACKAGES}
    settings = [*(block.model_dump_json() for block in blocks), json.dumps(installed, sort_keys=True), machine]
    digest = hashlib.sha256("\n".join(settings).encode())
    for file in (*sorted(data), *sorted(Path(__file__).parent.rglob("*.py"))):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, key: str):
        self.folder = FOLDER / key
        for other in self.folder.parent.glob("*"):
            with suppress(FileNotFoundError):  # another training has just removed its own
                if time.time() - other.stat().st_mtime > FORGET_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)

    def keep(self, state: TrainingState) -> None:
        """Write a state, then drop all but the newest ones. Where that fails, training goes on without it."""
        try:
            self._write(state)
        except OSError as error:
            print(f"the checkpoint of epoch {len(state.rows)} could not be written: {error}")

    def _write(self, state: TrainingState) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        whole, partial = self.folder / f"epoch-{len(state.rows):05}", self.folder / f".part-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        buffer = BytesIO()
        arrays = [*state.variables, *state.best]
        np.savez(buffer, *arrays)
        content = buffer.getvalue()
        about = {"rows": state.rows, "stopping": state.stopping, "n_variables": len(state.variables)}
        _write(partial / "arrays.npz", content)
        _write(partial / "state.json", json.dumps({**about, "sha256": _digest(about, content)}).encode())
        _sync(partial)
        shutil.rmtree(whole, ignore_errors=True)
        partial.rename(whole)
        _sync(self.folder)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> TrainingState | None:
        """The newest state that is whole; None where there is none."""
        for folder in self._newest_first():
            try:
                return read(folder)
            except (OSError, ValueError) as error:
                print(f"checkpoint {folder.name} is damaged and passed over: {error}")
        return None

    def remove(self) -> None:
        """Forget them, once what they were for is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def read(folder: Path) -> TrainingState:
    """The state in the folder of one epoch.

    Raises
    ------
    OSError, ValueError
        If it is not what was written.
    """
    about: Any = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    content = (folder / "arrays.npz").read_bytes()
    if not isinstance(about, dict) or about.pop("sha256", None) != _digest(about, content):
        raise ValueError("it does not match its digest")
    with np.load(BytesIO(content)) as saved:
        arrays = [saved[f"arr_{n}"] for n in range(len(saved.files))]
    n = about["n_variables"]
    return TrainingState(about["rows"], arrays[:n], about["stopping"], arrays[n:])


def _digest(about: dict[str, Any], arrays: bytes) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode() + arrays).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
