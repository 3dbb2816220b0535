"""Kept results, such as features, that later runs do not compute again.

A file holds the results of several inputs, each under the digest of its content. The file is named by the digest of
its own, written under a temporary name and renamed; one that does not match its name is removed. Two runs at once may
both compute a result, and neither loses what the other has kept. A worktree's folder is a link to its checkout's.
"""

import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.run.outputs import atomic_outputs

FOLDER = Path(".checkpoints")
MAX_BYTES = 8 * 2**30  # of all kept results; those go that were not used for the longest time
PACKAGES = ("keras", "tensorflow", "jax", "numpy", "pillow")
TASKS = Path(__file__).parents[1]


def cache_key(blocks: Iterable[BaseModel], files: Iterable[Path], settings: str, code: Iterable[str]) -> str:
    """Digest parameters, the content of files, settings, libraries and code in tasks/."""
    installed = {name: package.version for name in PACKAGES for package in metadata.distributions(name=name)}
    lines = [*(block.model_dump_json() for block in blocks), json.dumps(installed, sort_keys=True), settings]
    digest = hashlib.sha256("\n".join(lines).encode())
    paths = [TASKS / name for name in code]
    inside = [file for path in paths for file in path.rglob("[!.]*.py")]  # editors lock files by dotted links
    for file in (*sorted(files), *sorted([*inside, *(path for path in paths if path.is_file())])):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]  # control: checkpoint key


def read_kept(folder: Path, wanted: Container[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield digests with their rows of the arrays.

    Of files without a wanted digest nothing is yielded. A damaged file is removed with a line.
    """
    for file in sorted(folder.glob("[!.]*.npz")):
        try:
            with np.load(file) as saved:  # reads the digests alone
                is_wanted = any(map(wanted.__contains__, map(bytes, saved["digests"])))
            if is_wanted:
                arrays = load_kept(file)
                yield from zip(map(bytes, arrays.pop("digests")), *arrays.values(), strict=True)
                with suppress(OSError):
                    os.utime(file)
                    os.utime(folder)  # `Checkpoints` removes unused ones
        except Exception as error:  # of a damaged file NumPy raises errors of many classes
            with suppress(OSError):  # another run may just have removed it
                file.unlink()
                print(f"{file} is damaged and removed: {error}")


def load_kept(file: Path) -> dict[str, NDArray[Any]]:
    """Load the arrays of a file that must match its name."""
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.stem:  # control: kept result
        raise ValueError("the file does not match its digest")
    with np.load(BytesIO(content)) as saved:
        return dict(saved)


def keep(folder: Path, digests: Sequence[bytes], **arrays: NDArray[Any]) -> bool:
    """Keep the results of some digests; return whether that worked."""
    buffer = BytesIO()
    rows = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
    np.savez(buffer, allow_pickle=False, digests=rows, **arrays)
    content = buffer.getbuffer()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a lock, two runs of the same inputs would write under one temporary name.
        with (
            FileLock(folder / ".lock"),
            atomic_outputs(folder / f"{hashlib.sha256(content).hexdigest()}.npz") as (file,),
        ):
            file.write_bytes(content)
        with suppress(FileNotFoundError):  # another run removes unused files, too
            files = sorted(FOLDER.glob("*/[!.]*.npz"), key=lambda file: -file.stat().st_mtime_ns)
            for file, total in zip(files, accumulate(file.stat().st_size for file in files), strict=True):
                if total > MAX_BYTES:
                    file.unlink()
    except OSError as error:
        print(f"{folder}: {len(digests):,} results could not be kept: {error}")
        return False
    return True
