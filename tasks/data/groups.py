"""Groups of own images, named by folders or parts of a path."""

import re
from collections.abc import Sequence

SHOWN = 10


def name_groups(files: Sequence[str], labels: Sequence[str], rule: str) -> list[str]:
    """Name the group of each file; "" where it stands alone.

    The rule `folder` takes the folder inside that of the class: `ill/patient 4/1.jpg` and `healthy/patient 4/1.jpg` are
    of one group. Any other rule is a regular expression, searched for in the path, whose parts in brackets name the
    group; ValueError if it finds none. `labels` are the names of the files' classes.
    """
    if rule == "folder":
        return [_inner_folder(file, label) for file, label in zip(files, labels, strict=True)]
    found = [re.search(rule, file) for file in files]
    names = ["/".join(part for part in match.groups() if part) if match else "" for match in found]
    if missed := [file for file, name in zip(files, names, strict=True) if not name]:
        raise ValueError(
            f"normalize.groups must name the group of each file; {rule} found none in {len(missed):,} of "
            f"{len(files):,}: {', '.join(missed[:SHOWN])}; `.*?(?:{rule})|(.+)` leaves such files on their own"
        )
    return names


def _inner_folder(file: str, label: str) -> str:
    folders = file.split("/")[:-1]
    return "/".join(folders[folders.index(label) + 1 :] if label in folders else folders)
