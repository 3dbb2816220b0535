"""What changed between two sides, in the words of `flows.why`.

Of any two commits, experiments or this workspace, whatever DVC knows of them: *parameters* but for the block `study`,
which no stage reads; *data*, which are the counts of reports/dataset.json and what no stage makes; *code* under tasks/;
*libraries*; and the *pipeline*, which are variables and commands of dvc.yaml. What cannot be read is said in its place.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import code
from flows.repo.dvc_internals import parse_lock
from flows.repo.staleness import ABSENT, changed_values
from flows.results.sides import IncomparableError, Side
from tasks.params import PARAMS_FILE, parse_text
from tasks.run.libraries import LIBRARIES_FILE

CODE = (".py", ".html")  # what .dvcignore lets count under tasks/


class Change(NamedTuple):
    """Something that differs, and its kind."""

    kind: str
    what: str


def find_changes(base: Side, here: Side) -> list[Change]:
    """List what differs between two sides."""
    changes: list[Change] = []
    for kind, find in FINDERS.items():
        try:
            changes += [Change(kind, what) for what in find(base, here)]
        except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            changes.append(Change(kind, f"unknown: {error}"))
    return changes


def edited_parameters(side: Side) -> list[str]:
    """List parameters that were changed since a side's results were made."""
    stages = (parse_lock(_read(side, "dvc.lock")) or {}).get("stages", {}).values()
    ran = {key: value for stage in stages for key, value in stage.get("params", {}).get(str(PARAMS_FILE), {}).items()}
    if not ran:
        return []
    content = parse_text(_read(side, str(PARAMS_FILE)).decode(), f"{PARAMS_FILE} of {side.name}")
    now = {key: reduce(lambda block, name: block.get(name, ABSENT), key.split("."), content) for key in ran}
    return [*dict.fromkeys(changed_values(ran, now))]  # a key may be listed with its block, and once more


def _parameters(base: Side, here: Side) -> Iterator[str]:
    return _compare_files(base, here, PARAMS_FILE, lambda params: params | {"study": None})


def _data(base: Side, here: Side) -> Iterator[str]:
    before, now = (_inputs(_read(side, "dvc.lock")) for side in (base, here))
    yield from (f"{path} modified" for path in before if before[path] != now.get(path, before[path]))
    yield from changed_values(base.read_counts(), here.read_counts())


def _inputs(lock: bytes) -> dict[str, str]:
    """Return the digests of what no stage makes, but for code."""
    stages = (parse_lock(lock) or {}).get("stages", {}).values()
    made = {output["path"] for stage in stages for output in stage.get("outs", [])}
    read = {dep["path"]: dep.get("md5", "") for stage in stages for dep in stage.get("deps", [])}
    return {path: read[path] for path in read if path not in made and not path.startswith(code.FOLDER)}


def _code(base: Side, here: Side) -> Iterator[str]:
    for path, difference in code.edits(_read_code(base), _read_code(here)):
        yield difference or f"{path}: comments and layout alone"


def _read_code(side: Side) -> code.Files:
    if side.commit:
        blobs = code.list_blobs(side.root, side.commit, code.FOLDER)
        return code.read_blobs(side.root, {path: blob for path, blob in blobs.items() if path.endswith(CODE)})
    files = (file for file in (side.root / code.FOLDER).rglob("*") if file.suffix in CODE and file.is_file())
    return {file.relative_to(side.root).as_posix(): file.read_bytes() for file in files}


def _libraries(base: Side, here: Side) -> Iterator[str]:
    return _compare_files(base, here, LIBRARIES_FILE, dict)


def _pipeline(base: Side, here: Side) -> Iterator[str]:
    return _compare_files(base, here, "dvc.yaml", _variables_and_commands)


def _variables_and_commands(graph: dict[str, Any]) -> dict[str, Any]:
    own = [entry for entry in graph.get("vars", []) if isinstance(entry, dict)]  # the others name files
    variables = {name: value for entry in own for name, value in entry.items()}
    return variables | {name: stage.get("cmd") for name, stage in graph.get("stages", {}).items()}


def _compare_files(
    base: Side, here: Side, path: Path | str, select: Callable[[dict[str, Any]], dict[str, Any]]
) -> Iterator[str]:
    texts = [_read(side, str(path)).decode() for side in (base, here)]
    if texts[0] != texts[1]:  # to parse one takes a tenth of a second
        before, now = (
            select(parse_text(text, f"{path} of {side.name}") if text else {})
            for text, side in zip(texts, (base, here), strict=True)
        )
        yield from changed_values(before, now)


def _read(side: Side, path: str) -> bytes:
    try:
        return side.read(path)
    except (IncomparableError, FileNotFoundError):  # an earlier version has no such file
        return b""


FINDERS = {"parameters": _parameters, "data": _data, "code": _code, "libraries": _libraries, "pipeline": _pipeline}
