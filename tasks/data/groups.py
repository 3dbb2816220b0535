"""Groups of own images: names from folders or file names, and groups that are too large."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHOWN = 10


def name_groups(files: Sequence[str], labels: Sequence[str], rule: str) -> list[str]:
    """Name the group of each file by `normalize.groups`.

    `folder` names the folder inside that of the class: `rose/plant 4/1.jpg` is of group `plant 4`, as
    `daisy/plant 4/1.jpg` is, so that a patient who is photographed in two classes stays one. A file directly in the
    folder of its class stands alone, with the name "". Any other rule is a regular expression, searched for in the
    path, whose parts in brackets name the group.

    Parameters
    ----------
    labels : sequence of str
        The name of each file's class.

    Raises
    ------
    ValueError
        If the expression finds no group in a file's path.
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


def describe_large_groups(
    names: Sequence[str], groups: NDArray[np.int64], split_of: NDArray[np.str_], fraction: float
) -> list[str]:
    """Describe the groups with a name that hold more than a fraction of all rows.

    `names` are the user's groups, "" for none; rows of one number in `groups` got one split.
    """
    described = []
    for group in np.flatnonzero(np.bincount(groups) > max(1, fraction * len(groups))):
        rows = np.flatnonzero(groups == group).tolist()
        if named := sorted({names[row] for row in rows} - {""}):
            others = f" with {len(named) - 1:,} others through copies" if len(named) > 1 else ""
            described.append(f"{named[0]}{others}: {len(rows):,} of {len(groups):,} images, all {split_of[rows[0]]}")
    return described
