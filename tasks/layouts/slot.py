"""`python -m tasks.layouts.slot`: check the images that dvc.yaml names, before DVC reads them.

DVC stops with an error of its own at a name that is not UTF-8 and at a broken link, and waits for ever at a pipe. So
flows call this first, and the hook that `make setup` installs runs it before `dvc` (tasks/run/environment.py).
"""

import sys
from contextlib import suppress
from pathlib import Path

from tasks.errors import RefusedError
from tasks.layouts import rules
from tasks.layouts.folder import Folder
from tasks.params import ParameterError, parse


def check_slot(checkout: Path) -> None:
    """Refuse a folder that download would refuse, or raise nothing: DVC and download say the rest."""
    images = ""
    with suppress(ParameterError, LookupError, TypeError, StopIteration):  # a dvc.yaml that DVC refuses
        images = next(str(entry["images"]) for entry in parse(checkout / "dvc.yaml")["vars"] if "images" in entry)
    try:
        if images.startswith("~"):
            raise RefusedError(f"must be written without ~; received {images}; write {Path(images).expanduser()}")
        if not Path(images).is_absolute() and rules.is_left_by_a_system(images.replace("../", "")):
            raise RefusedError(f"must have a name that .dvcignore does not hide from DVC; received {images}")
        if (checkout / images).is_dir():
            Folder.walk(checkout / images)
    except RefusedError as error:
        raise ParameterError(f"dvc.yaml: images: {error}") from error


if __name__ == "__main__":
    try:
        check_slot(Path.cwd())
    except ParameterError as error:
        sys.exit(f"error: {error}")
