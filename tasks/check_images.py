"""A check of the folder that dvc.yaml names, before DVC reads it.

`python -m tasks.check_images`. DVC stops with an error of its own at a name that is not UTF-8 and at a broken link, and
waits for ever at a pipe. So flows call this first, and the hook of `make setup` runs it (tasks/run/environment.py).
"""

import sys
from contextlib import suppress
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.errors import RefusedError


def check_images(checkout: Path) -> None:
    """Raise ParameterError for a folder that download would refuse."""
    images = ""
    with suppress(OSError, YAMLError, ValueError, TypeError, LookupError, StopIteration):  # a dvc.yaml that DVC refuses
        entries = YAML(typ="safe").load(checkout / "dvc.yaml")["vars"]
        images = next(str(entry["images"]) for entry in entries if "images" in entry)
    if not images.startswith("~") and not (images and (checkout / images).is_dir()):
        return
    from tasks.layouts import folder, rules  # late, as nearly every command of DVC returns above
    from tasks.params import ParameterError

    try:
        if images.startswith("~"):
            raise RefusedError(f"must be a path without ~; received {images}; write {Path(images).expanduser()}")
        if not Path(images).is_absolute() and rules.is_left_by_a_system(images):
            raise RefusedError(f"must be a path that .dvcignore does not hide from DVC; received {images}; rename it")
        folder.Folder.walk(checkout / images)
    except RefusedError as error:
        raise ParameterError(f"dvc.yaml: images: {error}") from error


if __name__ == "__main__":
    try:
        check_images(Path.cwd())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
