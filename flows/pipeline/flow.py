"""The pipeline as a Prefect flow: stages as tasks, results as artifacts."""

import csv
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows.pipeline.stages import retry_while_locked, stage
from flows.repo import commands
from flows.repo.cosmetic import accept_edits
from flows.repo.dvc_internals import stages_of
from flows.repo.git import commit_of
from flows.repo.graph import artifact
from flows.results.comparison import compare
from flows.results.sides import IncomparableError
from flows.results.summary import summary
from flows.runs.experiments import Remote, isolated_run, name_of, uncommitted
from flows.runs.inputs import check_run

MINUTE, HOUR = 60, 3600

download = stage(
    "download", HOUR, retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=10), retry_jitter_factor=0.5
)
OURS = {
    "download": download,
    "normalize": stage("normalize", 10 * MINUTE),
    "train": stage("train", 24 * HOUR, needs=["gpu"]),
    "evaluate": stage("evaluate", HOUR),
    "export": stage("export", HOUR),
    "report": stage("report", HOUR),
    "describe": stage("describe", 10 * MINUTE),
}


class Options(NamedTuple):
    """The flow's parameters that say how the stages are run."""

    force: bool
    push: bool
    pull: bool
    accept: bool = False


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    push: bool = False,
    pull: bool = False,
    accept: bool = False,
) -> dict[str, Any]:
    """Bring the pipeline up to date, show its results, and return metrics.

    Parameters
    ----------
    overrides : dict, optional
        Parameters by dotted key, such as {"train.epochs": 3}. The run is then isolated from the workspace, at HEAD,
        and kept as a DVC experiment. Without them it brings the workspace up to date, as `dvc repro` does.
    force : bool
        Run every stage, also where nothing changed.
    push : bool
        Send data, model and reports to the DVC remote after the run.
    pull : bool
        Fetch them from the DVC remote before the run.
    accept : bool
        Keep results of this workspace whose code differs only in comments and layout.
    """
    root, overrides, options = Path.cwd(), overrides or {}, Options(force, push, pull, accept)
    check_run(root, overrides, accept)
    if not overrides:
        return run_stages(root, options)
    if edits := uncommitted(root):
        text = "not in this run, since it starts from HEAD: uncommitted changes to\n%s"
        get_run_logger().warning(text, edits.rstrip())
    return run_isolated(root, overrides, options)


def run_isolated(
    root: Path, overrides: dict[str, Any], options: Options, commit: str = "HEAD", remote: Remote | None = None
) -> dict[str, Any]:
    """Run the pipeline in a worktree, keep an experiment, and return metrics."""
    name = name_of(str(flow_run.get_name()), overrides)
    with isolated_run(root, name, overrides, commit, remote) as checkout:
        metrics = run_stages(checkout, options, name, remote is None or remote.has_images(checkout))
    kept = (
        "kept as a DVC experiment; `dvc exp show` lists it; before your next commit `dvc exp apply %s` brings it here"
    )
    published = "published as a DVC experiment; `dvc exp pull REMOTE %s` fetches it from the git remote"
    get_run_logger().info(published if remote else kept, name)
    return metrics


def run_stages(checkout: Path, options: Options, experiment: str = "", has_images: bool = True) -> dict[str, Any]:
    """Bring a checkout up to date, show its results, and return metrics."""
    logger = get_run_logger()
    if options.pull:
        commands.run(checkout, sys.executable, "-m", "dvc", "pull", "--allow-missing")
    if options.accept:
        for verdict in retry_while_locked(checkout, accept_edits, logger.info):
            logger.info("%s: %s", verdict.stage, verdict.message)
    done: dict[str, Any] = {}
    for name, inputs in retry_while_locked(checkout, stages_of, logger.info).items():
        if name != "download" or has_images:
            run = OURS.get(name) or stage(name, 24 * HOUR)  # a stage that people added to dvc.yaml
            done[name] = run(checkout, options.force, *(done[before] for before in inputs if before in done))
    metrics = show_results(checkout, experiment)
    if options.push:
        commands.run(checkout, sys.executable, "-m", "dvc", "push")
    return metrics


def show_results(checkout: Path, experiment: str) -> dict[str, Any]:
    """Publish a finished run's results as artifacts, and return its metrics."""
    commit = (commit_of(checkout, "HEAD") or "")[:7] or "none yet"
    text = summary(checkout)
    get_run_logger().info("\n%s", text)
    source = f"commit `{commit}`" + (f", experiment `{experiment}`" if experiment else "")
    create_markdown_artifact(f"{text}\n\n{source}", key="summary", description="What the run achieved")

    page = checkout / artifact(checkout, "report")
    try:
        comparison = compare(checkout, "HEAD")
        text = comparison.markdown()
        if not experiment:
            from flows.results.page import write_page  # which draws: half a second

            write_page(comparison, changes := page.with_name("compare.html"))
            create_link_artifact(changes.as_uri(), key="compare", description=comparison.sentence)
            get_run_logger().info("against commit %s: %s; open %s", commit, comparison.sentence, changes)
    except IncomparableError as error:  # the first run in a repository, or other test images
        text = str(error)
    create_markdown_artifact(text, key="comparison", description=f"This run against commit {commit}")

    if not experiment:  # the folder of an experiment is removed; `dvc exp apply` brings its page
        create_link_artifact(page.as_uri(), key="report", description="The report, on the worker's disk")

        create_markdown_artifact(
            _describe_doubts(checkout, page), key="review", description="Labels that a person should judge"
        )

    with (checkout / artifact(checkout, "per_class")).open(encoding="utf-8") as file:
        create_table_artifact(list(csv.DictReader(file)), key="per-class", description="Scores of each class on test")
    metrics: dict[str, Any] = json.loads((checkout / artifact(checkout, "metrics")).read_text(encoding="utf-8"))
    return metrics


def _describe_doubts(checkout: Path, page: Path) -> str:
    """Count doubtful labels, and link the review if there is one."""
    with (checkout / artifact(checkout, "label_issues")).open(encoding="utf-8") as file:
        n = sum(1 for _ in csv.DictReader(file))
    review = page.with_name("review.html")
    link = f"; [the last page]({review.as_uri()})" if review.exists() else ""
    return f"{n:,} label{' is' if n == 1 else 's are'} doubted: `python -m tasks.review` shows them{link}"
