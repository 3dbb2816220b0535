"""The pipeline on any machine of the pool: `prefect deployment run pipeline/machines`.

Always an isolated run, since nobody looks at that machine's workspace: its inputs come from the remotes, and its
experiment is published there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.cluster import sync
from flows.cluster.remotes import remotes
from flows.cluster.trial import REMOTE
from flows.pipeline.run import Options, run_isolated


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    push: bool = False,
    pull: bool = False,
    commit: str | None = None,
) -> dict[str, Any]:
    """Run the pipeline with the inputs of the remotes, and publish its experiment there.

    Parameters
    ----------
    overrides, force, push, pull
        As of `flows.pipeline.flow.pipeline`.
    commit : str, optional
        The commit to run, by its digest; default: that of the git remote's HEAD.

    Returns
    -------
    dict
        reports/metrics.json of the run.
    """
    root = Path.cwd()
    remotes(root)  # raises where one is missing
    commit = commit or sync.default_commit(root)
    return run_isolated(root, overrides or {}, Options(force, push, pull), commit, replace(REMOTE, publish=_publish))


def _publish(checkout: Path, name: str) -> bool:
    """Publish an experiment, whose name must not belong to another commit."""
    if not sync.publish(checkout, name) and not sync.is_published_of_head(checkout, name):
        raise RuntimeError(
            f"the name of a run must be new on the git remote; received {name}, which is an experiment of another "
            "commit; run it again under another name"
        )
    get_run_logger().info("published; `dvc exp pull %s %s` fetches it elsewhere", remotes(checkout).git, name)
    return True
