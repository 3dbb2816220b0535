"""An edit that changes nothing runs nothing: results of code that differs only in comments and layout are kept.

`python -m flows.accept [--since REV] [STAGE ...]`

DVC compares bytes, so that a comment in a source file costs a training. Here the code that made a result is found
again, by the digests that dvc.lock has, in git's history, and compared with the code as it is now (same_code.py).
Where all of it is the same code, DVC records the digests of now, as `dvc commit --force` does: in dvc.lock, and in the
run cache, by which other clones know it too. The outputs are not touched.

A stage is refused, with the first reason, if

1. DVC has another reason to run it: its command, parameters, data or outputs changed, or it was never run;
2. git has not got the code that made the result: it was never committed, and `--since` must say which commit had it;
3. a function or a statement differs;
4. dvc.yaml lists other dependencies, parameters or outputs than dvc.lock.

A bare `dvc repro` knows nothing of this, and runs the stage: what is in doubt is computed. Ends with 1 where a stage
was refused, with 2 where nothing could be judged, with 75 while another DVC is at work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo.ast_diff import first_difference
from flows.repo.git import at, commit_of, refuse_unresolved, versions
from tasks.params import ParameterError

HINT = "code differs only in comments and layout; `python -m flows.accept` keeps the result"
BUSY = 75  # the shell's EX_TEMPFAIL
OF_FILES = {"size", "nfiles", "isexec"}  # what dvc.lock says of a file beside its digest


class DifferentError(RuntimeError):
    """A stage whose result would be another one, or may be; the message says why."""


class Verdict(NamedTuple):
    """What was said of a stage, and whether its result is that of the code here."""

    stage: str
    said: str
    is_current: bool


def accept_edits(root: Path, names: Iterable[str] = (), since: str | None = None) -> list[Verdict]:
    """Keep the results of stages whose code differs only in comments and layout.

    Parameters
    ----------
    names : iterable of str
        The stages; all by default.
    since : str, optional
        A commit that had the code which made the result, for files of which git has not got that version.

    Raises
    ------
    tasks.params.ParameterError, flows.repo.git.GitError
        For a stage or a commit that is none, and where a merge waits.
    dvc.lock.LockError
        If another DVC process is using the workspace.
    """
    from dvc.repo import Repo, lock_repo

    refuse_unresolved(root)
    if since is not None and commit_of(root, since) is None:
        raise ParameterError(f"--since must be a commit of this repository; received {since}")
    with Repo(str(root)) as repo, lock_repo(repo):
        stages = {stage.name: stage for stage in repo.stage.collect(str(root / "dvc.yaml"))}
        for name in names:
            if name not in stages:
                raise ParameterError(f"STAGE must be one of {', '.join(stages)}; received {name}")
        return [_accept(root, stages[name], since) for name in stages if name in (names or stages)]


def _accept(root: Path, stage: Any, since: str | None) -> Verdict:
    entries = stage.status().get(stage.addressing, [])
    if not entries:
        return Verdict(stage.name, "nothing changed", is_current=True)
    try:
        code = reformatted(root, stage, entries, since)
        _record(stage, code)
    except DifferentError as error:
        return Verdict(stage.name, f"nothing is kept: {error}", is_current=False)
    return Verdict(stage.name, f"kept; only comments and layout differ in {', '.join(code)}", is_current=True)


def reformatted(root: Path, stage: Any, entries: list[Any], since: str | None = None) -> dict[str, bytes]:
    """The files of a stage that are other bytes and the same code as those that made its result.

    Parameters
    ----------
    stage : dvc.stage.PipelineStage
    entries : list
        DVC's status of it.

    Raises
    ------
    DifferentError
        If they are not, or something else changed.
    """
    changed = _changed_code(entries)
    code = [dependency for dependency in stage.deps if str(dependency) in changed]
    if new := [one for one in code if not one.hash_info]:
        raise DifferentError(f"dep {new[0].def_path} is new in dvc.yaml")
    made_by = recorded(root, code)
    same = {}
    for dependency in code:
        path, now = dependency.def_path, Path(dependency.fs_path).read_bytes()
        before = made_by.get(dependency.hash_info.value)
        if before is None and since:
            before = at(root, since, path)
        if before is None:
            raise DifferentError(
                f"{path} must be in git as it was when the result was made; git knows no such version; "
                "name a commit with the same code by `--since REV`"
            )
        if difference := first_difference(before, now):
            raise DifferentError(f"{path}:{difference.line}: {difference.what}")
        same[path] = now
    return same


def _changed_code(entries: list[Any]) -> set[str]:
    """The sources that DVC found changed, where nothing else is."""
    found = set()
    for entry in entries:
        if isinstance(entry, str):
            raise DifferentError(entry)
        for kind, paths in entry.items():
            for path, what in paths.items():
                if isinstance(what, dict):  # a parameter file, with the blocks that differ
                    raise DifferentError(f"params changed: {', '.join(what)}")
                if (kind, what) != ("changed deps", "modified") or not path.endswith(".py"):
                    raise DifferentError(f"{kind.removeprefix('changed ').removesuffix('s')} {path} {what}")
                found.add(path)
    return found


def recorded(root: Path, code: list[Any]) -> dict[str, bytes]:
    """The code that made a result, by its digest, as far as git has it; `code` has DVC's dependencies."""
    known = [dependency for dependency in code if dependency.hash_info]
    if not known:
        return {}
    found = versions(
        root, [dependency.def_path for dependency in known], {dependency.meta.size for dependency in known}
    )
    return {_md5(content): content for content in found}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _record(stage: Any, code: dict[str, bytes]) -> None:
    """Do what `dvc commit --force` does, with a look at what is about to be written.

    DVC says nothing of a dependency, a parameter or an output that dvc.yaml lists no more; and a file may have been
    saved since it was compared.
    """
    from dvc.stage.serialize import to_single_stage_lockfile

    entry = stage.dvcfile.lockfile_contents["stages"][stage.name]
    stage.save(run_cache=False)  # digests of now, in memory
    if _written(to_single_stage_lockfile(stage)) != _written(entry, code):
        raise DifferentError("dvc.yaml lists other dependencies, parameters or outputs than dvc.lock")
    stage.repo.stage_cache.save(stage)
    stage.commit(relink=False)  # the cache may lack an output; the workspace is left alone
    stage.dump(update_pipeline=False)


def _written(entry: dict[str, Any], code: dict[str, bytes] | None = None) -> dict[str, Any]:
    """An entry of dvc.lock by what counts in it, with the digests that some code has now."""
    files: dict[str, Any] = {
        kind: {
            file["path"]: {key: value for key, value in file.items() if key not in OF_FILES}
            for file in entry.get(kind, [])
        }
        for kind in ("deps", "outs")
    }
    for path, content in (code or {}).items():
        files["deps"][path]["md5"] = _md5(content)
    return {**entry, **files}
