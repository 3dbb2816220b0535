"""The checks before the pipeline runs, by command line and flow."""

from pathlib import Path
from typing import Any

from flows.repo.git import git
from flows.runs.experiments import check_checkout
from flows.runs.inputs import check_inputs
from tasks.params import PARAMS_FILE, ParameterError, parse_text
from tasks.params.document import override, validate


def check_run(root: Path, overrides: dict[str, Any], accept: bool) -> None:
    """Check that a run can begin; one with overrides starts from HEAD.

    Raises
    ------
    flows.repo.git.GitError, tasks.params.ParameterError
    """
    check_checkout(root)
    if not overrides:
        return
    if accept:  # the worktree of an isolated run starts without outputs
        received = ", ".join(overrides)
        raise ParameterError(f"accept is for runs in the workspace; received overrides, too: {received}; leave one out")
    at_head = parse_text(git(root, "show", f"HEAD:./{PARAMS_FILE}"), f"{PARAMS_FILE} at HEAD")
    validate(override(at_head, overrides), "overrides")
    check_inputs(root)
