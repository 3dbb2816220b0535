"""What changed between two sides, in the words of `flows.why`.

Of any two commits, experiments or this workspace, whatever DVC knows of them: *parameters* but for the block `study`,
which no stage reads; *data*, which are the counts of reports/dataset.json, the slots of dvc.yaml and what no stage
makes; *code* under tasks/, *layout* for files that differ in comments and layout alone; *libraries*; and the *command*
of each stage. What cannot be read is said in its place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import code
from flows.repo.dvc_internals import parse_lock
from flows.repo.staleness import changed_values, changed_words
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
            changes += find(base, here)
        except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            changes.append(Change(kind, f"unknown: {error}"))
    return changes


def _parameters(base: Side, here: Side) -> Iterator[Change]:
    before, now = (content | {"study": None} for content in _parse_both(base, here, PARAMS_FILE))
    return (Change("parameters", what) for what in changed_values(before, now))


def _data(base: Side, here: Side) -> Iterator[Change]:
    old, new = _parse_both(base, here, "dvc.yaml")
    slots = changed_values(_slots(old), _slots(new))
    before, now = (_inputs(_read(side, "dvc.lock")) for side in (base, here))
    modified = (f"{path} modified" for path in before if before[path] != now.get(path, before[path]))
    counts = changed_values(base.read_counts(), here.read_counts())
    return (Change("data", what) for what in (*slots, *modified, *counts))


def _slots(content: dict[str, Any]) -> dict[str, Any]:
    slots = content.get("vars", [])
    return {name: value for slot in slots if isinstance(slot, dict) for name, value in slot.items()}


def _inputs(lock: bytes) -> dict[str, str]:
    """Return the digests of what no stage makes, but for code."""
    stages = (parse_lock(lock) or {}).get("stages", {}).values()
    made = {output["path"] for stage in stages for output in stage.get("outs", [])}
    read = {dep["path"]: dep.get("md5", "") for stage in stages for dep in stage.get("deps", [])}
    return {path: read[path] for path in read if path not in made and not path.startswith(code.FOLDER)}


def _code(base: Side, here: Side) -> Iterator[Change]:
    for path, difference in code.edits(_read_code(base), _read_code(here)):
        yield Change("code", difference) if difference else Change("layout", path)


def _read_code(side: Side) -> code.Files:
    if side.commit:
        blobs = code.list_blobs(side.root, side.commit, code.FOLDER)
        return code.read_blobs(side.root, {path: blob for path, blob in blobs.items() if path.endswith(CODE)})
    files = (file for file in (side.root / code.FOLDER).rglob("*") if file.suffix in CODE and file.is_file())
    return {file.relative_to(side.root).as_posix(): file.read_bytes() for file in files}


def _libraries(base: Side, here: Side) -> Iterator[Change]:
    return (Change("libraries", what) for what in changed_values(*_parse_both(base, here, LIBRARIES_FILE)))


def _commands(base: Side, here: Side) -> Iterator[Change]:
    before, now = (content.get("stages", {}) for content in _parse_both(base, here, "dvc.yaml"))
    for stage in {**before, **now}:
        old, new = (str(stages.get(stage, {}).get("cmd", "")) for stages in (before, now))
        if old != new:
            yield Change("command", f"{stage}: {changed_words(old, new)}")


def _parse_both(base: Side, here: Side, path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse a file of both sides; empty where missing or the same."""
    before, now = (_read(side, str(path)) for side in (base, here))
    if before == now:
        return {}, {}  # to parse one takes a tenth of a second
    return (
        parse_text(before.decode(), f"{path} of {base.name}") if before else {},
        parse_text(now.decode(), f"{path} of {here.name}") if now else {},
    )


def _read(side: Side, path: str) -> bytes:
    try:
        return side.read(path)
    except (IncomparableError, FileNotFoundError):  # an earlier version has no such file
        return b""


FINDERS = {"parameters": _parameters, "data": _data, "code": _code, "libraries": _libraries, "command": _commands}
