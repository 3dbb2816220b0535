"""Why a stage would run: DVC's verdict, what changed, and remedies.

DVC alone decides whether a stage is stale; `stale_reasons` has the ordered list of reasons.
"""

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import code, dvc_internals
from tasks.run.libraries import LIBRARIES_FILE

ABSENT = "(absent)"
LOST_CODE = "git lacks the version that made the result; `flows.accept --since REV` names a commit with the same code"

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


class Reason(NamedTuple):
    """A reason for a stage to run: its kind, and what changed."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]


def stale_reasons(root: Path, names: Iterable[str] = (), *, upstream: bool = False) -> dict[str, tuple[Reason, ...]]:
    """Explain why DVC would run stages (all by default) now.

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

    Raises
    ------
    tasks.params.ParameterError, dvc.lock.LockError
        For an unknown stage, and while another DVC process uses the workspace.
    """
    names = tuple(names)
    with dvc_internals.locked_repo(root) as repo:
        stages = dvc_internals.load_stages(repo, names)
        own = functools.cache(lambda name: tuple(judge(root, stages[name])[0]))
        order = dvc_internals.order_stages(repo) if upstream else {}
        return {name: own(name) + (_upstream(order, name, own) if upstream else ()) for name in names or stages}


def _upstream(order: dict[str, list[str]], name: str, own: Callable[[str], tuple[Reason, ...]]) -> tuple[Reason, ...]:
    kinds = {before: dict.fromkeys(reason.kind for reason in own(before)) for before in _before(order, name)}
    return tuple(Reason("upstream", f"{before} would run: {', '.join(why)}") for before, why in kinds.items() if why)


def _before(order: dict[str, list[str]], name: str) -> dict[str, None]:
    """List the stages that make a stage's inputs, first ones first."""
    return dict.fromkeys(earlier for other in order[name] for earlier in (*_before(order, other), other))


def judge(root: Path, stage: Any, since: str | None = None) -> tuple[list[Reason], dict[str, str]]:
    """Return a stage's reasons, and the digests of the compared code."""
    locked, digests = dvc_internals.locked_entry(stage), dict[str, str]()
    if locked is None:
        return [Reason("first run", "dvc.lock has no earlier one")], digests
    if stage.deps and not locked.get("deps"):  # flows/runs/trial.py
        return [Reason("on demand", "the run that is here left it out")], digests
    reasons, status = [], {}
    for entry in stage.status().get(stage.addressing, []):  # a sentence, or {kind: {path: what happened}}
        if isinstance(entry, str):
            command = _changed_words(locked["cmd"], stage.cmd) if entry == "changed command" else entry
            reasons.append(Reason("command", command))
        else:
            status.update({path: what for paths in entry.values() for path, what in paths.items()})
    layout = []
    for file in (file for file in (*stage.deps, *stage.outs) if str(file) in status):
        what = status[str(file)] if file.hash_info else "is new in dvc.yaml"
        if file in stage.outs or not file.def_path.startswith(code.FOLDER):
            reasons.append(_file_reason(file, what, file in stage.outs))
        elif what != "modified":
            reasons.append(Reason("code", f"{file.def_path} {what}"))
        elif before := code.recorded_files(root, file, since):
            now = code.current_files(file)
            digests[file.def_path] = code.digest(file.def_path, now)
            for path, difference in [*code.edits(before, now)] or [(file.def_path, "")]:  # the same as of `since`
                if difference:
                    reasons.append(Reason("code", difference))
                else:
                    layout.append(path)
        else:
            reasons.append(Reason("code", f"{file.def_path} modified; {LOST_CODE}"))
    if layout:
        reasons.append(Reason("layout", ", ".join(layout)))
    return sorted(reasons, key=lambda reason: list(REMEDIES).index(reason.kind)), digests


def _file_reason(file: Any, what: str, is_output: bool) -> Reason:
    if hasattr(file, "read_params"):
        kind = "libraries" if file.def_path == str(LIBRARIES_FILE) else "parameters"
        values = changed_values(file.hash_info.value or {}, file.read_params())
        return Reason(kind, ", ".join(values) or f"{file.def_path} {what}")
    return Reason("outputs" if is_output else "data", f"{file.def_path} {what}{_changed_files(file)}")


def _changed_words(before: str, now: str) -> str:
    compared = list(difflib.ndiff(before.split(), now.split()))
    gone, new = (" ".join(word[2:] for word in compared if word.startswith(sign)) for sign in "-+")
    return f"{gone or ABSENT} → {new or ABSENT}"


def changed_values(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Yield each value that differs, by dotted key: before → after."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inner = f"{key}.{name}" if key else str(name)
            yield from changed_values(before.get(name, ABSENT), now.get(name, ABSENT), inner)
    elif before != now:
        yield f"{key} {before} → {now}"


def _changed_files(entry: Any) -> str:
    """Count a folder's changed files; empty for a file."""
    old, new = dvc_internals.folder_digests(entry)
    differ = sorted(path for path in old | new if old.get(path) != new.get(path))
    kinds = Counter("new" if path not in old else "gone" if path not in new else "changed" for path in differ)
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return f": {counts} of {len(old | new)} files, such as {differ[0]}" if differ else ""
