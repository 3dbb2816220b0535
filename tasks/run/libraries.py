"""The libraries that decide results: libraries.yaml names their versions.

Each stage in dvc.yaml lists its own libraries, so that DVC runs it again when one of them changes. That is right only
if these versions are installed: each step checks it first, by the metadata of the packages, and imports none.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.params import ParameterError, parse

LIBRARIES_FILE = Path("libraries.yaml")
OR = " or "  # between the versions for different Pythons


def check_libraries(path: Path = LIBRARIES_FILE) -> None:
    """Raise ParameterError for the first library of another version than named."""
    for name, versions in parse(path).items():
        installed = _installed(name)
        if installed not in str(versions).split(OR):
            raise ParameterError(
                f"{path}: {name}: must be {versions} where a stage runs; {sys.executable} has {installed}; run "
                "`rm -f .venv/ready && make setup` and `source .venv/bin/activate`, or `make lock` for newer versions"
            )


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]  # without a build label such as `+cpu`
    except PackageNotFoundError:
        return "none"
