"""A release as a Prefect flow: `prefect deployment run release/local`."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.release.release import list_releases
from flows.release.release import release as publish
from tasks.params.gate import read_gate


@flow(name="release", persist_result=False)
def release(stage: str | None = None, base: str | None = None) -> str:
    """Release the model of this workspace's commit, and return the version.

    Parameters
    ----------
    stage : str, optional
        A stage to put the version in, such as prod.
    base : str, optional
        A commit to compare with, by default the last release.
    """
    root = Path.cwd()
    version = publish(root, stage, base, read_gate(), get_run_logger().info)
    create_markdown_artifact(list_releases(root), key="releases", description="Versions, stages and scores")
    return version
