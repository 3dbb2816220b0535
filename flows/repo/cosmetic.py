"""Keep results whose code differs only in comments and layout.

DVC compares bytes, so that a comment in a source file costs a training. Where `stale_reasons` names no reason but
layout, DVC records the digests of now, as `dvc commit --force` does: in dvc.lock, and in the run cache, by which other
clones know them too. The outputs are not touched.

A stage is refused with its first other reason, or where dvc.yaml lists other dependencies, parameters or outputs than
dvc.lock. A bare `dvc repro` knows nothing of this, and runs the stage: what is in doubt is computed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo import dvc_internals
from flows.repo.git import commit_of
from flows.repo.merges import refuse_unresolved
from flows.repo.staleness import judge
from tasks.params import ParameterError


class Decision(NamedTuple):
    """What was decided on a stage's result."""

    stage: str
    message: str
    is_current: bool  # the result is that of today's code


def accept_edits(root: Path, names: Iterable[str] = (), since: str | None = None) -> list[Decision]:
    """Keep results whose code differs only in comments and layout.

    `since` is a commit with the code that made them, where git has lost it.

    Raises
    ------
    tasks.params.ParameterError, flows.repo.git.GitError
        For an unknown stage or commit, and where a merge waits.
    dvc.lock.LockError
        While another DVC process uses the workspace.
    """
    refuse_unresolved(root)
    if since is not None and commit_of(root, since) is None:
        raise ParameterError(f"--since must be a commit of this repository; received {since}")
    with dvc_internals.locked_repo(root) as repo:
        stages = dvc_internals.load_stages(repo, names)
        return [_accept(root, stages[name], since) for name in stages if name in (names or stages)]


def _accept(root: Path, stage: Any, since: str | None) -> Decision:
    reasons, digests = judge(root, stage, since)
    if not reasons:
        return Decision(stage.name, "nothing changed", is_current=True)
    refused = [str(reason) for reason in reasons if reason.kind != "layout"]
    if not refused:  # DVC is silent about what dvc.yaml lists no more; and a file may have been saved meanwhile
        expected = _without_sizes(dvc_internals.locked_entry(stage) or {})
        expected["deps"].update(digests)
        if _without_sizes(dvc_internals.entry_of_now(stage)) != expected:
            refused = ["dvc.yaml lists other dependencies, parameters or outputs than dvc.lock"]
    if refused:
        return Decision(stage.name, f"nothing is kept: {refused[0]}", is_current=False)
    dvc_internals.record(stage)
    return Decision(stage.name, f"kept; only comments and layout differ in {reasons[0].what}", is_current=True)


def _without_sizes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of dvc.lock, with the digest of each path."""
    files = {kind: {file["path"]: file.get("md5") for file in entry.get(kind, [])} for kind in ("deps", "outs")}
    return {**entry, **files}
