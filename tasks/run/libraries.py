"""The libraries that decide results: their versions are inputs, named in libraries.yaml.

Each stage in dvc.yaml lists its own, so that DVC runs it again when one of them changes, and keeps its results apart by
them. That holds only if what is installed is what is named: a step looks before it begins, in whatever environment it
is called. It reads what the packages say of themselves and imports none.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.params import ParameterError, parse

LIBRARIES_FILE = Path("libraries.yaml")
OR = " or "  # between the versions of one that depends on the Python


def check(path: Path = LIBRARIES_FILE) -> None:
    """Check that the libraries are installed in the versions that a file names.

    Raises
    ------
    tasks.params.ParameterError
        For the first that is not.
    """
    for name, versions in parse(path).items():
        installed = _installed(name)
        if installed not in str(versions).split(OR):
            raise ParameterError(
                f"{path}: {name}: must be {versions} where a stage runs; {sys.executable} has {installed}; run "
                "`rm -f .venv/ready && make setup` and `source .venv/bin/activate`, or `make lock` for newer versions"
            )


def _installed(name: str) -> str:
    """The version of a package, without the label of a build, such as `+cpu`."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "none"
