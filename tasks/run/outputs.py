"""Outputs that appear whole or not at all: written under another name, then renamed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_outputs(*outputs: Path) -> Iterator[list[Path]]:
    """Give each output a temporary path, and rename all of them when the block ends well.

    Otherwise what was written is removed. What a killed process left behind is removed by the next one.

    Parameters
    ----------
    *outputs : Path
        Files or folders. Their parents are made.

    Yields
    ------
    list of Path
        Where to write each output, in the same order, in the same folder.

    Raises
    ------
    OSError
        As the block or a rename raises it. One without a file name, as of a write, gets that of the first output.
    """
    partial = [output.with_name(f".part-{output.name}") for output in outputs]  # control: atomic outputs
    try:
        for path in partial:
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for path, output in zip(partial, outputs, strict=True):
            if path.is_dir():
                _remove(output)  # which a rename replaces only when it is a file
            path.replace(output)
    except OSError as error:
        error.filename = error.filename or str(outputs[0])
        raise
    finally:
        for path in partial:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
