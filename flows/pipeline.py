"""The pipeline as a Prefect flow: download → normalize → train → evaluate.

`python -m flows.pipeline` or `prefect deployment run pipeline/local`

Without overrides it brings the workspace up to date, as `dvc repro` does there. With overrides it is an isolated run,
which leaves the workspace alone and is kept as a DVC experiment.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before Prefect is imported, which takes a second
    from flows import command_line

    sys.exit(command_line.pipeline())

import csv
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows import experiments
from flows.gate import IncomparableError, compare
from flows.git import git
from flows.processes import Checkout
from flows.stages import stage
from flows.summary import artifact, summary

MINUTE, HOUR = 60, 3600

download = stage(
    "download", HOUR, retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=10), retry_jitter_factor=0.5
)
normalize = stage("normalize", 10 * MINUTE)
train = stage("train", 24 * HOUR, needs=["gpu"])
evaluate = stage("evaluate", HOUR)


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None, force: bool = False, push: bool = False, pull: bool = False
) -> dict[str, Any]:
    """Bring the pipeline up to date and show its results.

    Parameters
    ----------
    overrides : dict, optional
        Parameters by dotted key, such as {"train.epochs": 3}. The run is then isolated from the workspace, at HEAD,
        and kept as a DVC experiment.
    force : bool
        Run every stage, also where nothing changed.
    push : bool
        Send to the DVC remote after the run, run cache included.
    pull : bool
        Fetch from the DVC remote before the run, run cache included.

    Returns
    -------
    dict
        reports/metrics.json of the run.
    """
    logger = get_run_logger()
    root, overrides = Path.cwd(), overrides or {}
    if overrides:
        experiments.check_slots(root)
    else:
        experiments.check(root)
    name = experiments.name_of(str(flow_run.get_name()), overrides)
    if overrides and (edits := experiments.uncommitted(root)):
        logger.warning("not in this run, since it starts from HEAD: uncommitted changes to\n%s", edits.rstrip())
    with experiments.isolated_worktree(root, overrides, name) if overrides else nullcontext(root) as folder:
        checkout = Checkout(folder, force)
        if pull:
            experiments.run(folder, sys.executable, "-m", "dvc", "pull", "--run-cache", "--allow-missing")

        raw = download(checkout)
        arrays = normalize(checkout, raw)
        model = train(checkout, arrays)
        evaluate(checkout, arrays, model)

        if overrides:
            experiments.save(folder, name)
            logger.info("kept as a DVC experiment; `dvc exp show` lists it, `dvc exp apply %s` brings it here", name)
        metrics = show(folder, name if overrides else "")
        if push:
            experiments.run(folder, sys.executable, "-m", "dvc", "push", "--run-cache")
    return metrics


def show(folder: Path, experiment: str) -> dict[str, Any]:
    """Publish the results of a finished run as artifacts, and return its metrics."""
    commit = git(folder, "rev-parse", "--short", "HEAD").strip()
    text = summary(folder)
    get_run_logger().info("\n%s", text)
    kept = f", experiment `{experiment}`" if experiment else ""
    create_markdown_artifact(f"{text}\n\ncommit `{commit}`{kept}", key="summary", description="What the run achieved")

    try:
        compared = compare(folder, "HEAD").markdown()
    except IncomparableError as error:  # the first run in a repository, or other test images
        compared = str(error)
    create_markdown_artifact(compared, key="comparison", description=f"This run against commit {commit}")

    if not experiment:  # the folder of an experiment is removed; `dvc exp apply` brings its page
        create_link_artifact(
            (folder / artifact(folder, "report")).as_uri(), key="report", description="The report, on the worker's disk"
        )

    with (folder / artifact(folder, "per_class")).open(encoding="utf-8") as file:
        create_table_artifact(list(csv.DictReader(file)), key="per-class", description="Scores of each class on test")
    metrics: dict[str, Any] = json.loads((folder / artifact(folder, "metrics")).read_text(encoding="utf-8"))
    return metrics
