"""Outputs that appear whole or not at all, by a rename."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_outputs(*outputs: Path) -> Iterator[list[Path]]:
    """Yield temporary paths, and rename them when the block ends well.

    Outputs are files or folders; their parents are made. Otherwise what was written is removed; the next call removes
    what a killed process left. An OSError without a file name, as from a write, gets that of the first output.
    """
    partial = [output.with_name(f".part-{output.name}") for output in outputs]  # control: atomic outputs
    try:
        for path in partial:
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for path, output in zip(partial, outputs, strict=True):
            if path.is_dir():
                _remove(output)  # a rename replaces a file, but no folder
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
