"""A folder to run stages in that is not this project's own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from tests.support.parameters import edit


@contextmanager
def project(**changes: Any) -> Iterator[None]:
    """Work in a new folder with this project's params.yaml, changed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy("params.yaml", folder)
        edit(Path(folder, "params.yaml"), **changes)
        with chdir(folder):
            yield
