"""Why a stage would run: DVC's verdict, what changed, and remedies.

DVC alone decides whether a stage is stale. `stale_reasons` says why; it has the ordered list of reasons.
"""

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.repo import dvc_internals
from flows.repo.code import current_files, edits, is_code, recorded_files
from tasks.run.libraries import LIBRARIES_FILE

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


@dataclass(frozen=True)
class Reason:
    """A reason for a stage to run: its kind, and what changed."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]


def stale_reasons(root: Path, names: Iterable[str] = (), *, upstream: bool = False) -> dict[str, tuple[Reason, ...]]:
    """Explain why DVC would run stages now.

    A stage without a reason is current. In this order, of which one is enough:

    1. *first run*: dvc.lock knows of no earlier one, and nothing else is looked at;
    2. *on demand*: the run that is here left the stage out, and nothing else is looked at;
    3. *command*: dvc.yaml has another one than dvc.lock;
    4. *parameters*: values that the stage lists in params.yaml, before → after;
    5. *libraries*: versions that it lists in libraries.yaml, before → after;
    6. *code*: a file under tasks/ of those it depends on, with the first function that differs and its line;
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
        For an unknown stage.
    dvc.lock.LockError
        If another DVC process is using the workspace.
    """
    names = tuple(names)
    with dvc_internals.locked_repo(root) as repo:
        stages = dvc_internals.load_stages(repo, names)
        own = functools.cache(lambda name: tuple(_reasons(root, stages[name])))
        return {name: own(name) + (_upstream(stages, name, own) if upstream else ()) for name in names or stages}


def _upstream(stages: dict[str, Any], name: str, own: Callable[[str], tuple[Reason, ...]]) -> tuple[Reason, ...]:
    """Name the earlier stages that would run, with their kinds of reasons."""
    kinds = {before: dict.fromkeys(reason.kind for reason in own(before)) for before in _before(stages, name)}
    return tuple(Reason("upstream", f"{before} would run: {', '.join(why)}") for before, why in kinds.items() if why)


def _before(stages: dict[str, Any], name: str) -> dict[str, None]:
    """List the stages that make a stage's inputs, first ones first."""
    read = {dependency.fs_path for dependency in stages[name].deps}
    direct = [other for other, stage in stages.items() if read & {output.fs_path for output in stage.outs}]
    return dict.fromkeys(earlier for other in direct for earlier in (*_before(stages, other), other))


def _reasons(root: Path, stage: Any) -> list[Reason]:
    """Explain DVC's status of a stage: sentences, and {kind: {path: what happened}}."""
    locked = dvc_internals.locked_entry(stage)
    if locked is None:
        return [Reason("first run", "dvc.lock has no earlier one")]
    if stage.deps and not locked.get("deps"):  # flows/runs/trial.py
        return [Reason("on demand", "the run that is here left it out")]
    reasons, status = [], {}
    for entry in stage.status().get(stage.addressing, []):
        if isinstance(entry, str):
            command = _changed_words(locked["cmd"], stage.cmd) if entry == "changed command" else entry
            reasons.append(Reason("command", command))
        else:
            status.update({path: what for paths in entry.values() for path, what in paths.items()})
    changed = [
        (file, status[str(file)] if file.hash_info else "is new in dvc.yaml")
        for file in (*stage.deps, *stage.outs)
        if str(file) in status
    ]
    code = [(file, what) for file, what in changed if file in stage.deps and is_code(file.def_path)]
    reasons += _code_reasons(root, code)
    reasons += [_file_reason(file, what, file in stage.outs) for file, what in changed if (file, what) not in code]
    return sorted(reasons, key=lambda reason: list(REMEDIES).index(reason.kind))


def _file_reason(file: Any, what: str, is_output: bool) -> Reason:
    """Explain a changed parameter file, input or output."""
    if hasattr(file, "read_params"):
        kind = "libraries" if file.def_path == str(LIBRARIES_FILE) else "parameters"
        values = _changed_values(file.hash_info.value or {}, file.read_params())
        return Reason(kind, ", ".join(values) or f"{file.def_path} {what}")
    return Reason("outputs" if is_output else "data", f"{file.def_path} {what}{_changed_files(file)}")


def _changed_words(before: str, now: str) -> str:
    """Return the words of a command that changed, as `before → now`."""
    compared = list(difflib.ndiff(before.split(), now.split()))
    gone, new = (" ".join(word[2:] for word in compared if word.startswith(sign)) for sign in "-+")
    return f"{gone or ABSENT} → {new or ABSENT}"


def _changed_values(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Yield each changed value as `key before → now`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inner = f"{key}.{name}" if key else str(name)
            yield from _changed_values(before.get(name, ABSENT), now.get(name, ABSENT), inner)
    elif before != now:
        yield f"{key} {before} → {now}"


def _code_reasons(root: Path, changed: list[tuple[Any, str]]) -> list[Reason]:
    """Name the edited files of code, with the first function that differs."""
    reasons, layout = [], []
    for dependency, what in changed:
        before = recorded_files(root, dependency) if what == "modified" else None
        if before is None:
            reasons.append(Reason("code", f"{dependency.def_path} {what}"))
            continue
        for edit in edits(before, current_files(dependency)):
            if edit.fault:
                reasons.append(Reason("code", edit.fault))
            else:
                layout.append(edit.path)
    return reasons + ([Reason("layout", ", ".join(layout))] if layout else [])


def _changed_files(entry: Any) -> str:
    """Count a folder's changed files; empty for a file."""
    old, new = dvc_internals.folder_digests(entry)
    differ = sorted(path for path in old | new if old.get(path) != new.get(path))
    kinds = Counter("new" if path not in old else "gone" if path not in new else "changed" for path in differ)
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return f": {counts} of {len(old | new)} files, such as {differ[0]}" if differ else ""
