"""The pipeline as a Prefect flow: download → normalize → train → evaluate → report.

`python -m flows.pipeline`, or `prefect deployment run` with `pipeline/local` or, on any machine, `pipeline/machines`

Without overrides it brings the workspace up to date, as `dvc repro` does there. With overrides, or to be handed over,
it is an isolated run, which leaves the workspace alone and is kept as a DVC experiment.
"""

from __future__ import annotations

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows.cluster import sync
from flows.cluster.remotes import SyncError, find_remotes
from flows.pipeline.stages import once_free, stage
from flows.repo import commands
from flows.repo.cosmetic import accept_edits
from flows.repo.git import git
from flows.repo.graph import artifact
from flows.results.comparison import IncomparableError, compare
from flows.results.summary import summary
from flows.runs import experiments
from flows.runs.processes import Checkout
from tasks.params import ParameterError

MINUTE, HOUR = 60, 3600

download = stage(
    "download", HOUR, retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=10), retry_jitter_factor=0.5
)
normalize = stage("normalize", 10 * MINUTE)
train = stage("train", 24 * HOUR, needs=["gpu"])
evaluate = stage("evaluate", HOUR)
report = stage("report", HOUR)


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    push: bool = False,
    pull: bool = False,
    hand_over: bool = False,
    commit: str | None = None,
    accept: bool = False,
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
        Send data, model and reports to the DVC remote after the run.
    pull : bool
        Fetch them from the DVC remote before the run.
    hand_over : bool
        Be an isolated run, with or without overrides, whose inputs come from the remotes and whose experiment is
        published there: for a machine whose own workspace nobody looks at.
    commit : str, optional
        The commit of a run that is handed over; default: that of the git remote's HEAD.
    accept : bool
        Keep results of this workspace whose code differs only in comments and layout.

    Returns
    -------
    dict
        reports/metrics.json of the run.
    """
    logger = get_run_logger()
    root, overrides = Path.cwd(), overrides or {}
    isolated = hand_over or bool(overrides)
    if commit and not hand_over:
        raise ParameterError(f"a commit is of a run that is handed over; received {commit}; add hand_over=true")
    if accept and isolated:  # its worktree starts without outputs
        raise ParameterError("accept must be of this workspace; received an isolated run, too; leave one of them out")
    if hand_over:
        find_remotes(root)
        commit = commit or sync.remote_head(root)
        sync.fetch_commit(root, commit)
    elif isolated:
        experiments.check_slots(root)
    else:
        experiments.check(root)
    name = experiments.name_of(str(flow_run.get_name()), overrides)
    if isolated and not hand_over and (edits := experiments.uncommitted(root)):
        logger.warning("not in this run, since it starts from HEAD: uncommitted changes to\n%s", edits.rstrip())
    worktree = experiments.isolated_worktree(root, overrides, name, commit or "HEAD") if isolated else nullcontext(root)
    with worktree as folder:
        checkout = Checkout(folder, force)
        if hand_over:
            sync.fetch_inputs(folder)
        if pull:
            commands.run(folder, sys.executable, "-m", "dvc", "pull", "--allow-missing")

        if accept:
            for verdict in once_free(folder, accept_edits, logger.info):
                logger.info("%s: %s", verdict.stage, verdict.message)

        # What own images were packed into came from the remote; they themselves are on another machine.
        raw = [download(checkout)] if not hand_over or sync.images_in_git(folder) else []
        arrays = normalize(checkout, *raw)
        model = train(checkout, arrays)
        scores = evaluate(checkout, arrays, model)
        report(checkout, arrays, model, scores)

        if isolated:
            experiments.save(folder, name)
            logger.info("kept as a DVC experiment; `dvc exp show` lists it, `dvc exp apply %s` brings it here", name)
        if hand_over:
            if not sync.publish(folder, name) and not sync.is_published_at_head(folder, name):
                raise SyncError(
                    f"a run that is handed over must have a name of its own; received {name}, which the git remote has "
                    "of another commit; run it again under another name"
                )
            logger.info("published; `dvc exp pull %s %s` fetches it elsewhere", find_remotes(root).git, name)
        metrics = show(folder, name if isolated else "")
        if push:
            commands.run(folder, sys.executable, "-m", "dvc", "push")
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
