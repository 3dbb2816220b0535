"""An attempt to pack own images that must be refused in one line, without a trace."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.download import download
from tasks.errors import RefusedError

Refused = Callable[[Path], str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    def attempt(images: Path) -> str:
        before = seen(tmp_path)
        with pytest.raises(RefusedError) as caught:
            download(images=images, raw=tmp_path / "raw")
        (line,) = str(caught.value).splitlines()
        assert seen(tmp_path) == before
        return line

    return attempt


def seen(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """All that is in a folder, with what would show that it was touched."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (about.st_ino, about.st_size, about.st_mtime_ns) for path, about in found.items()}
