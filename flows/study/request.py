"""What a study is asked to do: its arguments checked, and its trials planned, before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.host.resources import default_jobs
from flows.runs.experiments import check_checkout
from flows.runs.inputs import check_inputs
from flows.runs.trial import Trial
from flows.study.plan import HOST_PARAMETERS, plan
from tasks.params import PARAMS_FILE, ParameterError, parse

REPORT = Path("reports/study")


@dataclass(frozen=True)
class Request:
    """A study to run: its trials, how many side by side, and the folder of its report."""

    root: Path
    trials: list[Trial]
    jobs: int
    report: Path
    named: set[str]  # parameters that the report names where all trials have one value


def prepare(
    variants: list[str] | None,
    seeds: int | None,
    settings: dict[str, Any] | None,
    jobs: int | None,
    name: str | None,
    on: str,
) -> Request:
    """Check the arguments of a study in the current folder, and plan its trials.

    Its command line calls this before Prefect is imported, its flow for the trials.

    Raises
    ------
    tasks.params.ParameterError, flows.repo.git.GitError
    """
    root, report = Path.cwd(), report_folder(name)
    for argument, value in {"seeds": seeds, "jobs": jobs}.items():
        if value is not None and value < 1:
            raise ParameterError(f"{argument} must be at least 1; received {value}")
    if on == "machines" and jobs is not None:
        raise ParameterError(f"jobs must be left out with on machines, whose workers have their own; received {jobs}")
    check_checkout(root)
    check_inputs(root)
    defaults = parse(root / PARAMS_FILE)["study"]
    settings = settings or {}
    trials = plan(root, variants or defaults["compared"], seeds or defaults["seeds"], settings, on == "machines")
    return Request(root, trials, jobs or default_jobs(), report, {*settings, *HOST_PARAMETERS})


def report_folder(name: str | None) -> Path:
    """Return the folder of a study's report.

    Raises
    ------
    tasks.params.ParameterError
        If the name has other characters than lower-case letters, digits and hyphens.
    """
    if name is not None and not re.fullmatch("[a-z0-9-]{1,80}", name):
        raise ParameterError(f"name must be of lower-case letters, digits and hyphens; received {name!r}")
    return REPORT.with_name(f"{REPORT.name}-{name}") if name else REPORT
