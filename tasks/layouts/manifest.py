"""manifest.csv: `path,label[,split][,group]`, a row for each image, to labelled files.

UTF-8, with or without a byte order mark, and separated by commas. Paths are relative to the manifest.
"""

import csv
import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import PurePosixPath

from tasks import errors
from tasks.datasets.packed import Example
from tasks.layouts import rules

COLUMNS = ("path", "label", "split", "group")
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def parse_manifest(content: bytes, where: str) -> list[Example]:
    """Parse a manifest; `where` is its path, for messages."""
    text = _decode(content, where)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise errors.RefusedError(f"{where}: line {reader.line_num}: is no CSV: {error}") from error
    exact = csv.reader(io.StringIO(text, newline=""))
    if spaces := sum(before != row for before, (_, row) in zip(exact, table, strict=False)):
        print(f"download: removed spaces around fields of {where}, in {spaces:,} rows")
    columns = _check_header(table[0][1] if table else [], where)
    rows = [(line, row) for line, row in table[1:] if any(row)]
    if empty := len(table) - 1 - len(rows):
        print(f"download: skipped {empty:,} empty rows of {where}")
    broken = defaultdict[str, list[str]](list)
    examples = []
    for line, row in rows:
        if len(row) != len(columns):
            broken[f"{where}: a row must have {len(columns)} fields, as its header"].append(
                f"{len(row)} in line {line}"
            )
            continue
        cells = dict(zip(columns, row, strict=True))
        split = cells.get("split", "")
        if split and split.casefold() not in rules.SPLITS:
            broken[f"{where}: a split must be one of {', '.join(rules.SPLITS)}"].append(f"{split!r} in line {line}")
            continue
        if not cells["path"] or not cells["label"]:
            broken[f"{where}: a row must have a path and a label"].append(f"line {line} without")
            continue
        path = str(PurePosixPath(cells["path"]))  # without `./`
        examples.append(Example(path, cells["label"], rules.SPLITS.get(split.casefold(), ""), cells.get("group", "")))
    rules.refuse(broken)
    rules.check_paths(example.file for example in examples)
    return examples


def match_files(examples: list[Example], paths: Collection[str], where: str) -> list[Example]:
    """Find the file of each example, and name images without a row.

    macOS writes é as two characters where tables have one: names may differ in their Unicode form.
    """
    forms = {unicodedata.normalize("NFC", path): path for path in paths} | {path: path for path in paths}
    found = [forms.get(file, forms.get(unicodedata.normalize("NFC", file))) for file, *_ in examples]
    missing = [example.file for example, file in zip(examples, found, strict=True) if file is None]
    rules.refuse({f"{where}: each path must be a file beside it": missing})
    examples = [example._replace(file=str(file)) for example, file in zip(examples, found, strict=True)]
    twice = [path for path, count in Counter(example.file for example in examples).items() if count > 1]
    rules.refuse({f"{where}: each file must have one row": twice})
    rest = {*paths} - {example.file for example in examples}
    if left := sorted(path for path in rest if rules.looks_like_image(path) and not rules.is_left_by_a_system(path)):
        print(f"download: left out images that are not in {where}: {rules.shorten(left)}")
    return examples


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        line = content.count(b"\n", 0, error.start) + 1
        received = "UTF-16" if is_utf16 else f"byte 0x{content[error.start]:02x} in line {line}"
        raise errors.RefusedError(f"{where}: must be UTF-8; received {received}; save it as `CSV UTF-8`") from error


def _check_header(header: list[str], where: str) -> list[str]:
    """Return the names of the columns; refuse what could be misspelled."""
    if len(header) == 1:
        for delimiter, name in DELIMITERS.items():
            if delimiter in header[0]:
                raise errors.RefusedError(
                    f"{where}: must be separated by commas; received {name}; save it as `CSV UTF-8`"
                )
    if missing := [name for name in COLUMNS[:2] if name not in header]:
        raise errors.RefusedError(
            f"{where}: must have the columns path and label, and may have split and group; its header lacks "
            f"{' and '.join(missing)}; received {rules.shorten(header) or 'an empty file'}"
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    rules.refuse({f"{where}: a column must be given once": twice})
    others = [name for name in header if name not in COLUMNS]
    for name in others:
        if near := get_close_matches(name.strip().casefold(), COLUMNS, n=1):
            raise errors.RefusedError(f"{where}: {name}: is no column; did you mean {near[0]}?")
    if others:
        print(f"download: ignored columns: {rules.shorten(others)}")
    return header
