"""Small photographs of one's own: folders, archives and manifests of them."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.pictures import encoded


@cache
def photo(seed: int) -> bytes:
    """A PNG of 8 × 8 pixels, another one for each seed."""
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)), "PNG")


def photos(*paths: str) -> dict[str, bytes]:
    """Files of photographs, all different."""
    return {path: photo(number) for number, path in enumerate(paths)}


FLOWERS = photos(*(f"{label}/{n}.png" for label in ("rose", "daisy") for n in range(6)))
GIVEN = photos(
    *(
        f"{split}/{label}/{n}.png"
        for split in ("train", "val", "test")
        for label in ("rose", "daisy")
        for n in range(4 if split == "train" else 2)
    )
)


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
