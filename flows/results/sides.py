"""A side of a comparison: a commit, an experiment or this workspace."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from flows.repo.dvc_internals import stored_object
from flows.repo.git import GitError, commit_of, read_blob
from flows.repo.graph import artifact
from flows.repo.repair import recorded_outputs
from tasks.metrics.predictions import Predictions, read_predictions


class IncomparableError(RuntimeError):
    """Two revisions that cannot be compared."""


@dataclass(frozen=True)
class Side:
    """A commit's files, wherever git or DVC keeps them, or the workspace's."""

    root: Path
    name: str  # that people gave it
    commit: str = ""  # of this workspace: none

    def read(self, path: str) -> bytes:
        """Read a file of the workspace, git, DVC's cache or remote.

        Raises
        ------
        IncomparableError, FileNotFoundError
            If the commit's file is lost, or the workspace has none.
        """
        if not self.commit:
            return (self.root / path).read_bytes()
        try:
            content = read_blob(self.root, self.commit, path)
            if content is None:
                digests = recorded_outputs(read_blob(self.root, self.commit, "dvc.lock") or b"") or {}
                content = stored_object(self.root, digests[path]) if path in digests else None
        except (GitError, OSError) as error:
            raise IncomparableError(f"{path} of {self.name} cannot be read: {error}") from error
        if content is None:
            raise IncomparableError(
                f"{path} of {self.name} is in neither git nor DVC's cache; `dvc fetch --all-commits` gets it from a "
                f"remote, or `git checkout {self.name} && dvc repro` makes it again"
            )
        return content

    def read_artifact(self, name: str) -> bytes:
        """Read what dvc.yaml of this workspace declares as an artifact."""
        return self.read(artifact(self.root, name))

    def read_counts(self) -> dict[str, Any]:
        """Read the counts of reports/dataset.json; none where it is missing."""
        try:
            return dict(json.loads(self.read_artifact("dataset")))
        except (IncomparableError, FileNotFoundError, ValueError, TypeError, KeyError):
            return {}

    def read_predictions(self) -> Predictions:
        """Read the predictions, or raise IncomparableError."""
        try:
            return read_predictions(BytesIO(self.read_artifact("predictions")))
        except ValueError as error:
            side, remedy = (self.name, f"git checkout {self.name} && ") if self.commit else ("this workspace", "")
            fault = f"the predictions of {side} cannot be read: {error}; `{remedy}dvc repro` makes them again"
            raise IncomparableError(fault) from error


def find_side(root: Path, revision: str, option: str) -> Side:
    """Find the commit or experiment of a name, or raise IncomparableError."""
    if not revision or (commit := commit_of(root, revision)) is None:
        raise IncomparableError(f"{option} must be a commit of this repository; received {revision or 'nothing'}")
    return Side(root, revision, commit)


def find_sides(root: Path, base: str, here: str) -> tuple[Side, Side]:
    """Find two commits or experiments, or the workspace for an empty `here`."""
    sides = find_side(root, base, "--base"), find_side(root, here, "--here") if here else Side(root, "here")
    if sides[0].commit == sides[1].commit:
        raise IncomparableError(f"--base and here must be two commits; both sides are {sides[0].commit[:7]}")
    return sides
