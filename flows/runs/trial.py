"""A trial: one isolated run of a study, up to its scores."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flows.host.resources import Resources
from flows.repo.git import git
from flows.runs.isolated import ExistsError, Remote, isolated_run
from flows.runs.placeholders import leave_out_others
from flows.runs.processes import repro

TRIAL_STAGES = ("download", "normalize", "train", "evaluate")  # a study reads nothing of the others
LIMIT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Trial:
    """A variant with a seed, whose run is kept as an experiment."""

    variant: str
    seed: int
    overrides: dict[str, Any]
    name: str
    commit: str  # that it starts from
    swept: str | None = None  # the parameter whose values the variant is one of


class Ended(NamedTuple):
    """A trial that ended, and why it failed."""

    trial: Trial
    failure: str = ""  # empty where its experiment exists


def finished(root: Path) -> dict[str, str]:
    """Return the commits of all experiments of this clone, by name."""
    pattern = "refs/exps/??/*/*"  # DVC's scheme: the baseline commit in two parts, then the name
    listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)", pattern)
    return {ref.rsplit("/", 1)[1]: commit for ref, commit in (line.split() for line in listed.splitlines())}


def run_trial(
    root: Path, trial: Trial, log: Callable[[str], None], share: Resources, remote: Remote | None = None
) -> bool:
    """Run one trial in this clone; False where its experiment exists.

    It ends with its scores: `dvc exp apply NAME && dvc repro` reports on it, which takes seconds and no training. A
    worktree's lock claims a trial within a clone; between clones, the reference on the git remote does.

    Raises
    ------
    flows.runs.processes.StageFailedError
        If its training or another stage fails.
    RuntimeError, filelock.Timeout
        If the machine, its disk or a remote fails, or every run of this process is being ended.
    """
    started = time.perf_counter()
    exists = remote.exists if remote else lambda root, name: name in finished(root)
    try:
        with isolated_run(root, trial.name, trial.overrides, trial.commit, remote, exists) as checkout:
            fetched = time.perf_counter()
            stages = TRIAL_STAGES if remote is None or remote.has_images(checkout) else TRIAL_STAGES[1:]
            name = f"{trial.variant} seed {trial.seed}"
            repro(checkout, name, LIMIT_SECONDS, log, ("--single-item", *stages), share)
            leave_out_others(checkout, TRIAL_STAGES)
            ran = time.perf_counter()
    except ExistsError:
        return False
    if remote:
        inputs, results = fetched - started, time.perf_counter() - ran
        log(
            f"exchanged with the remotes in {inputs + results:.1f} s: inputs {inputs:.1f}, results {results:.1f}; the "
            f"run itself took {ran - fetched:.1f} s"
        )
    return True
