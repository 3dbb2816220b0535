"""Why a stage would run: DVC's verdict in words, with what changed and what can be done about it.

DVC alone decides whether a stage is stale. `stale_reasons` says why; it has the ordered list of reasons.
"""

from __future__ import annotations

import difflib
import functools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.repo.ast_diff import first_difference
from flows.repo.cosmetic import recorded
from tasks.params import ParameterError
from tasks.run.libraries import LIBRARIES_FILE

CODE = "tasks/"  # that a stage depends on lies there
ABSENT = "(absent)"

# The kinds of reasons in their order, each with what can be done about it.
REMEDIES = {
    "first run": "`git checkout HEAD -- dvc.lock` brings a lock back that was lost",
    "on demand": "`dvc repro` makes it",
    "command": "with the old command in dvc.yaml, DVC's run cache restores the old result",
    "parameters": "with the old values in params.yaml, DVC's run cache restores the old result",
    "libraries": "with the old requirements.lock and libraries.yaml, `make setup` and DVC's run cache bring it back",
    "code": "with the old code, DVC's run cache restores the old result",
    "layout": "`python -m flows.accept` keeps the result, if nothing else changed",
    "data": "`dvc checkout` brings back what a stage made; with your old files, the run cache restores the old result",
    "outputs": "`dvc checkout` brings it back from DVC's cache, or the run does",
    "upstream": "it runs first; this stage then runs only if something else was made",
}

one_repo_at_a_time = threading.Lock()  # DVC keeps process-wide state


@dataclass(frozen=True)
class Reason:
    """One reason for a stage to run: of which kind, and what changed."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]


def stale_reasons(root: Path, names: Iterable[str] = (), *, upstream: bool = False) -> dict[str, tuple[Reason, ...]]:
    """Say why DVC would run stages now; no reason where nothing changed and the outputs are intact.

    In this order, of which one is enough:

    1. *first run*: dvc.lock knows of no earlier one, and nothing else is looked at;
    2. *on demand*: the run that is here left the stage out, and nothing else is looked at;
    3. *command*: dvc.yaml has another one than dvc.lock;
    4. *parameters*: values that the stage lists in params.yaml, before → after;
    5. *libraries*: versions that it lists in libraries.yaml, before → after;
    6. *code*: a file under tasks/ that its step imports, with the first function that differs and its line;
    7. *layout*: files of code that differ only in comments and layout, so that `flows.accept` may keep the result;
    8. *data*: anything else that it reads, with how many files of a folder are new, gone or changed;
    9. *outputs*: what it made is lost or was changed, here or in DVC's cache;
    10. *upstream*: a stage before it would run. A flow and `dvc repro` have run that one before they look here.

    Parameters
    ----------
    names : iterable of str
        The stages; all by default.
    upstream : bool
        Whether to look at the stages before them, too.

    Raises
    ------
    tasks.params.ParameterError
        For a stage that is none.
    dvc.lock.LockError
        If another DVC process is using the workspace.
    """
    from dvc.repo import Repo, lock_repo

    with one_repo_at_a_time, Repo(str(root)) as repo, lock_repo(repo):
        stages = {stage.name: stage for stage in repo.stage.collect(str(root / "dvc.yaml"))}
        asked = tuple(names) or tuple(stages)
        if unknown := [name for name in asked if name not in stages]:
            raise ParameterError(f"STAGE must be one of {', '.join(stages)}; received {unknown[0]}")
        own = functools.cache(lambda name: tuple(_reasons(root, stages[name])))
        return {
            name: own(name)
            + tuple(
                Reason("upstream", f"{before} would run: {', '.join(dict.fromkeys(one.kind for one in own(before)))}")
                for before in (_before(stages, name) if upstream else ())
                if own(before)
            )
            for name in asked
        }


def _before(stages: dict[str, Any], name: str) -> dict[str, None]:
    """The stages whose outputs a stage reads, directly or not; the first one first."""
    read = {dependency.fs_path for dependency in stages[name].deps}
    direct = [other for other, stage in stages.items() if read & {output.fs_path for output in stage.outs}]
    return dict.fromkeys(found for other in direct for found in (*_before(stages, other), other))


def _reasons(root: Path, stage: Any) -> list[Reason]:
    """DVC's status of a stage in words: a list of sentences and of {kind: {path: what happened}}."""
    from dvc.dependency.param import ParamsDependency

    locked = (stage.dvcfile.lockfile_contents.get("stages") or {}).get(stage.name)
    if locked is None:
        return [Reason("first run", "dvc.lock has no earlier one")]
    if stage.deps and not locked.get("deps"):  # flows/runs/placeholders.py
        return [Reason("on demand", "the run that is here left it out")]
    reasons, found = [], {}
    for entry in stage.status().get(stage.addressing, []):
        if isinstance(entry, str):
            command = _words(locked["cmd"], stage.cmd) if entry == "changed command" else entry
            reasons.append(Reason("command", command))
        else:
            found.update({path: what for paths in entry.values() for path, what in paths.items()})
    changed = [
        (one, found[str(one)] if one.hash_info else "is new in dvc.yaml")
        for one in (*stage.deps, *stage.outs)
        if str(one) in found
    ]
    code = [(one, what) for one, what in changed if one in stage.deps and one.def_path.startswith(CODE)]
    reasons += _of_code(root, code)
    for entry, what in changed:
        if isinstance(entry, ParamsDependency):
            kind = "libraries" if entry.def_path == str(LIBRARIES_FILE) else "parameters"
            values = _differences(entry.hash_info.value or {}, entry.read_params())
            reasons.append(Reason(kind, ", ".join(values) or f"{entry.def_path} {what}"))
        elif entry in stage.outs:
            reasons.append(Reason("outputs", f"{entry.def_path} {what}{_of_files(entry)}"))
        elif (entry, what) not in code:
            reasons.append(Reason("data", f"{entry.def_path} {what}{_of_files(entry)}"))
    return sorted(reasons, key=lambda reason: list(REMEDIES).index(reason.kind))


def _words(before: str, now: str) -> str:
    """The words of a command that changed, as `before → now`."""
    compared = list(difflib.ndiff(before.split(), now.split()))
    gone, new = (" ".join(word[2:] for word in compared if word.startswith(sign)) for sign in "-+")
    return f"{gone or ABSENT} → {new or ABSENT}"


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Each changed value as `key before → now`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(before.get(name, ABSENT), now.get(name, ABSENT), inner)
    elif before != now:
        yield f"{key} {before} → {now}"


def _of_code(root: Path, changed: list[tuple[Any, str]]) -> list[Reason]:
    """What became of sources: the first function that differs from what the stage ran with, where git has that."""
    made_by = recorded(root, [source for source, what in changed if what == "modified"])
    reasons, layout = [], []
    for source, what in changed:
        path, before = source.def_path, made_by.get(source.hash_info.value)
        if before is None or not path.endswith(".py"):  # of a template, any byte counts
            reasons.append(Reason("code", f"{path} {what}"))
        elif difference := first_difference(before, (root / path).read_bytes()):
            reasons.append(Reason("code", f"{path}:{difference.line}: {difference.what}"))
        else:
            layout.append(path)
    return reasons + ([Reason("layout", ", ".join(layout))] if layout else [])


def _of_files(entry: Any) -> str:
    """How the files of a folder differ from those of before; empty for a file, or where DVC lost the list."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.tree import Tree

    before = entry.get_obj() if entry.exists else None
    if not isinstance(before, Tree):
        return ""
    *_, now = build(entry.cache, entry.fs_path, entry.fs, entry.hash_name, ignore=entry.dvcignore, dry_run=True)
    if not isinstance(now, Tree):
        return ""
    old, new = ({"/".join(key): digest.value for key, _, digest in tree} for tree in (before, now))
    differ = sorted(path for path in old | new if old.get(path) != new.get(path))
    kinds = Counter("new" if path not in old else "gone" if path not in new else "changed" for path in differ)
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return f": {counted} of {len(old | new)} files, such as {differ[0]}" if differ else ""
