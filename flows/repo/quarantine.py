"""What the doctor finds, and the folder for damaged files."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".doctor")


@dataclass(frozen=True)
class Finding:
    """A fault of a file, and its repair."""

    path: str
    fault: str
    remedy: str
    is_open: bool = False  # something is left to do

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}"


class Quarantine:
    """A project's folder for damaged files, named by the time."""

    def __init__(self, root: Path):
        self.root = root
        self.folder = root / FOLDER / time.strftime("%Y-%m-%dT%H-%M-%S")

    def move(self, path: Path) -> str:
        """Move a file or folder here, and say so."""
        place = path.relative_to(self.root) if path.is_relative_to(self.root) else Path(*path.parts[-2:])
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        return f"moved to {target.relative_to(self.root)}"
