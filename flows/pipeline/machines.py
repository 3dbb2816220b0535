"""The pipeline on any machine of the pool: `prefect deployment run pipeline/machines`."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.cluster import sync
from flows.cluster.trial import REMOTE
from flows.pipeline.flow import Options, run_isolated
from flows.repo.remotes import find_remotes


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    push: bool = False,
    pull: bool = False,
    commit: str | None = None,
) -> dict[str, Any]:
    """Run the pipeline on inputs of the remotes, and publish its experiment.

    It is always an isolated run, since nobody looks at that machine's workspace, and starts from a commit, by default
    the HEAD of the git remote.
    """
    root = Path.cwd()
    find_remotes(root)  # raises where one is missing
    commit = commit or sync.remote_head(root)
    return run_isolated(root, overrides or {}, Options(force, push, pull), commit, REMOTE)
