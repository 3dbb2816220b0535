"""data/corrections.csv: what people found wrong about labels, a line for each image.

image     SHA-256 of the file's bytes, or of the pixels of CIFAR-10's record: a file that is moved keeps its line
file      its name when it was judged, for people
was       the label that the data set gives it
label     the label that it has; `was` again where it is right or left out
action    relabel | leave_out | right: the label stays, and is not doubted again
by, date  who judged it, and when

`corrections` of dvc.yaml names the file. Git merges it line by line (`merge=union` in .gitattributes). The images
themselves never change.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.datasets.packed import SHA256
from tasks.params import parse
from tasks.params.block import suggest

ACTIONS = ("relabel", "leave_out", "right")


class Correction(NamedTuple):
    """A line of the file."""

    image: str
    file: str
    was: str
    label: str
    action: str
    by: str
    date: str

    @property
    def key(self) -> tuple[str, str]:
        """Identical files may have two labels, of which one is corrected."""
        return self.image, self.was


class Corrected(NamedTuple):
    """The rows of a data set that corrections change."""

    labels: NDArray[np.int32]  # of all rows
    left_out: NDArray[np.bool_]  # likewise
    notes: list[str]  # on lines that apply to no image


def corrections_path() -> Path:
    """Find the file that dvc.yaml names."""
    graph = Path("dvc.yaml")
    entries = parse(graph).get("vars") or [] if graph.exists() else []
    named = [entry["corrections"] for entry in entries if isinstance(entry, dict) and "corrections" in entry]
    return Path(named[0] if named else "data/corrections.csv")


def read_corrections(path: Path) -> dict[int, Correction]:
    """Read the corrections by their line, counted from 1.

    A byte order mark, line ends of Windows and a spreadsheet's semicolons are accepted. Without a file there are none.

    Raises
    ------
    ValueError
        If a line is no correction, or two lines judge an image differently. The message names the lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ",".join(Correction._fields)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8: {error}; save it as `CSV UTF-8`") from error
    header, found = text.split("\n", 1)[0].strip(), dict[int, Correction]()
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in header else ",", strict=True)
    try:
        if (names := next(lines, [])) != list(Correction._fields):
            rule = f"line 1 must be {','.join(Correction._fields)}"
            raise ValueError(f"{rule}; received {','.join(names)[:200]}; `git checkout {path}` brings it back")
        for fields in lines:
            if fields:
                found[lines.line_num] = _parse(fields, lines.line_num)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    first: dict[tuple[str, str], int] = {}
    for line, correction in found.items():
        other = first.setdefault(correction.key, line)
        if _verdict(found[other]) != _verdict(correction):
            raise ValueError(
                f"{path}: lines {other} and {line} judge {correction.file} differently: "
                f"{_describe(found[other])}, and {_describe(correction)}; remove one of them"
            )
    return {line: correction for line, correction in found.items() if first[correction.key] == line}


def _parse(fields: Sequence[str], line: int) -> Correction:
    if len(fields) != len(Correction._fields):
        raise ValueError(f"line {line} must have {len(Correction._fields)} fields; received {len(fields)}")
    correction = Correction(*(field.strip() for field in fields))
    if not SHA256.fullmatch(correction.image):
        raise ValueError(f"line {line}: image must be a SHA-256; received {correction.image[:80]}")
    if correction.action not in ACTIONS:
        raise ValueError(f"line {line}: action must be one of {', '.join(ACTIONS)}; received {correction.action[:80]}")
    if (correction.action == "relabel") == (correction.label == correction.was):
        rule = "another label" if correction.action == "relabel" else "the same label"
        raise ValueError(
            f"line {line}: {correction.action} must have {rule} than {correction.was}; received {correction.label}"
        )
    return correction


def _verdict(correction: Correction) -> tuple[str, str]:
    return correction.action, correction.label


def _describe(correction: Correction) -> str:
    said = {"relabel": f"is {correction.label}", "leave_out": "is left out", "right": f"is rightly {correction.was}"}
    return said[correction.action] + (f" by {correction.by}" if correction.by else "")


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """Write corrections in the order of their images."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Correction._fields)
        writer.writerows(sorted(corrections))


def apply_corrections(
    corrections: Mapping[int, Correction], images: Sequence[str], labels: NDArray[np.int32], classes: Sequence[str]
) -> Corrected:
    """Correct the labels of rows, and note lines that fit none.

    Parameters
    ----------
    corrections : mapping
        By line.
    images : sequence of str
        The SHA-256 of each row's image.
    labels : ndarray of shape (n,)
    classes : sequence of str
        In the order of their labels.

    Raises
    ------
    ValueError
        If a line names an unknown class.
    """
    corrected, left_out = labels.copy(), np.zeros(len(labels), bool)
    rows_of: dict[str, list[int]] = {}
    wanted = {correction.image for correction in corrections.values()}
    for row, image in enumerate(images):
        if image in wanted:
            rows_of.setdefault(image, []).append(row)
    notes = []
    for line, correction in corrections.items():
        rows = rows_of.get(correction.image, [])
        has_label = [row for row in rows if classes[labels[row]] == correction.was]
        if not has_label:
            found = classes[labels[rows[0]]] if rows else ""
            notes.append(
                f"line {line}: {correction.file} " + (f"is {found}, and was {correction.was}" if rows else "is gone")
            )
        elif correction.label not in classes:
            raise ValueError(
                f"line {line}: label {correction.label}: is no class; {suggest(correction.label, classes)}"
            )
        elif correction.action == "leave_out":
            left_out[has_label] = True
        else:
            corrected[has_label] = list(classes).index(correction.label)
    return Corrected(corrected, left_out, notes)
