"""The pipeline as a Prefect flow: download → normalize → train → evaluate → report.

Started by `python -m flows.pipeline` or `prefect deployment run pipeline/local`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.pipeline.checks import check_run
from flows.pipeline.run import Options, run_isolated, run_stages
from flows.runs.experiments import uncommitted


@flow(name="pipeline", persist_result=False)
def pipeline(
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    push: bool = False,
    pull: bool = False,
    accept: bool = False,
) -> dict[str, Any]:
    """Bring the pipeline up to date and show its results.

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

    Returns
    -------
    dict
        reports/metrics.json of the run.
    """
    root, overrides, options = Path.cwd(), overrides or {}, Options(force, push, pull, accept)
    check_run(root, overrides, accept)
    if not overrides:
        return run_stages(root, options)
    if edits := uncommitted(root):
        text = "not in this run, since it starts from HEAD: uncommitted changes to\n%s"
        get_run_logger().warning(text, edits.rstrip())
    return run_isolated(root, overrides, options)
