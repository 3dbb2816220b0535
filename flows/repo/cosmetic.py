"""Keep results whose code differs only in comments and layout.

DVC compares bytes, so that a comment in a source file costs a training. Here the code that made a result is found
in git's history (code.py), and compared with the code of now (ast_diff.py). Where all of it is the same code, DVC
records the digests of now, as `dvc commit --force` does: in dvc.lock, and in the run cache, by which other clones know
it too. The outputs are not touched.

A stage is refused, with the first reason, if

1. DVC has another reason to run it: its command, parameters, data or outputs changed, or it was never run;
2. git has not got the code that made the result: it was never committed, and `--since` must say which commit had it;
3. a function or a statement differs, or a file of code is new or gone;
4. dvc.yaml lists other dependencies, parameters or outputs than dvc.lock.

A bare `dvc repro` knows nothing of this, and runs the stage: what is in doubt is computed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import dvc_internals
from flows.repo.code import Files, committed_files, current_files, digest, edits, is_code, recorded_files
from flows.repo.git import commit_of
from flows.repo.merges import refuse_unresolved
from tasks.params import ParameterError

HINT = "code differs only in comments and layout; `python -m flows.accept` keeps the result"
SIZES = {"size", "nfiles", "isexec"}  # in dvc.lock, beside a digest


class DifferentError(RuntimeError):
    """A stage whose result may be another one."""


class Decision(NamedTuple):
    """What was decided on a stage's result."""

    stage: str
    message: str
    is_current: bool  # the result is that of today's code


def accept_edits(root: Path, names: Iterable[str] = (), since: str | None = None) -> list[Decision]:
    """Keep results whose code differs only in comments and layout.

    Parameters
    ----------
    names : iterable of str
        The stages; all by default.
    since : str, optional
        A commit that had the code which made the result, for files of which git has not got that version.

    Raises
    ------
    tasks.params.ParameterError, flows.repo.git.GitError
        For an unknown stage or commit, and where a merge waits.
    dvc.lock.LockError
        If another DVC process is using the workspace.
    """
    refuse_unresolved(root)
    if since is not None and commit_of(root, since) is None:
        raise ParameterError(f"--since must be a commit of this repository; received {since}")
    with dvc_internals.locked_repo(root) as repo:
        stages = dvc_internals.load_stages(repo, names)
        return [_accept(root, stages[name], since) for name in stages if name in (names or stages)]


def _accept(root: Path, stage: Any, since: str | None) -> Decision:
    entries = stage.status().get(stage.addressing, [])
    if not entries:
        return Decision(stage.name, "nothing changed", is_current=True)
    try:
        changed = _changed_code(stage, entries)
        now = {dependency.def_path: current_files(dependency) for dependency in changed}
        edited = _cosmetic_edits(root, changed, now, since)
        _record(stage, now)
    except DifferentError as error:
        return Decision(stage.name, f"nothing is kept: {error}", is_current=False)
    return Decision(stage.name, f"kept; only comments and layout differ in {', '.join(edited)}", is_current=True)


def _changed_code(stage: Any, entries: list[Any]) -> list[Any]:
    """Return the changed code; refuse any other reason to run."""
    changed = set()
    for entry in entries:
        if isinstance(entry, str):
            raise DifferentError(entry)
        for kind, paths in entry.items():
            for path, what in paths.items():
                if isinstance(what, dict):  # a parameter file, with the blocks that differ
                    raise DifferentError(f"params changed: {', '.join(what)}")
                if (kind, what) != ("changed deps", "modified") or not is_code(path):
                    raise DifferentError(f"{kind.removeprefix('changed ').removesuffix('s')} {path} {what}")
                changed.add(path)
    dependencies = [dependency for dependency in stage.deps if str(dependency) in changed]
    if new := [dependency.def_path for dependency in dependencies if not dependency.hash_info]:
        raise DifferentError(f"dep {new[0]} is new in dvc.yaml")
    return dependencies


def _cosmetic_edits(root: Path, changed: list[Any], now: Mapping[str, Files], since: str | None) -> list[str]:
    """List the edited files; refuse an edit that may change results."""
    edited = []
    for dependency in changed:
        path = dependency.def_path
        before = recorded_files(root, dependency) or (committed_files(root, since, dependency) if since else None)
        if not before:
            raise DifferentError(
                f"{path} must be in git as it was when the result was made; git knows no such version; "
                "name a commit with the same code by `--since REV`"
            )
        for edit in edits(before, now[path]):
            if edit.fault:
                raise DifferentError(edit.fault)
            edited.append(edit.path)
    return edited


def _record(stage: Any, code: Mapping[str, Files]) -> None:
    """Record the code that was compared, where nothing else would be written.

    DVC says nothing of a dependency, a parameter or an output that dvc.yaml lists no more; and a file may have been
    saved since it was compared.
    """
    expected = _without_sizes(dvc_internals.locked_entry(stage) or {})
    for path, files in code.items():
        expected["deps"][path]["md5"] = digest(path, files)
    if _without_sizes(dvc_internals.entry_of_now(stage)) != expected:
        raise DifferentError("dvc.yaml lists other dependencies, parameters or outputs than dvc.lock")
    dvc_internals.record(stage)


def _without_sizes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of dvc.lock with digests and without sizes, by path."""
    files = {
        kind: {
            file["path"]: {key: value for key, value in file.items() if key not in SIZES}
            for file in entry.get(kind, [])
        }
        for kind in ("deps", "outs")
    }
    return {**entry, **files}
