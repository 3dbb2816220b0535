"""A trial: one isolated run of a study, up to its scores."""

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flows.host.resources import Resources
from flows.repo.commands import run
from flows.repo.dvc_internals import locked_repo
from flows.repo.git import git
from flows.runs.experiments import ExistsError, Remote, isolated_run
from flows.runs.processes import repro

TRIAL_STAGES = ("download", "normalize", "train", "evaluate")  # a study reads nothing of the others
RAW = "data/raw"
LIMIT_SECONDS = 24 * 3600.0
PLACEHOLDER = "`dvc repro` makes this: the run ended with its scores.\n"


@dataclass(frozen=True)
class Trial:
    """A variant or a gate's side with a seed, kept as experiment."""

    variant: str
    seed: int
    overrides: dict[str, Any]
    name: str
    commit: str  # that it starts from
    swept: str | None = None  # the parameter whose values the variant is one of
    from_raw: bool = False  # its images are those of `data/raw` in DVC's cache, whatever their folder holds now


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

    A worktree's lock claims a trial within a clone; between clones, the reference on the git remote does.

    Raises
    ------
    flows.runs.processes.StageFailedError
        If its training or another stage fails; for all else, see `isolated_run`.
    """
    started = time.perf_counter()
    exists = remote.exists if remote else lambda root, name: name in finished(root)
    try:
        with isolated_run(root, trial.name, trial.overrides, trial.commit, remote, exists) as checkout:
            if remote is None and trial.from_raw:
                run(checkout, sys.executable, "-m", "dvc", "checkout", RAW)
            fetched = time.perf_counter()
            has_images = remote.has_images(checkout) if remote else not trial.from_raw
            stages = TRIAL_STAGES if has_images else TRIAL_STAGES[1:]
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


def leave_out_others(checkout: Path, stages: Collection[str]) -> None:
    """Record all other stages as not run, with placeholders as outputs.

    The entry of such a stage in dvc.lock belongs to another run: it would attribute that run's report to this one, and
    ask for files that other machines never had. Without an entry, `dvc exp apply` fails, as DVC takes the outputs for
    lost. So the stage gets an entry without inputs, which no run matches.
    """
    with locked_repo(checkout) as repo:
        for stage in repo.stage.collect(str(checkout / "dvc.yaml")):
            if stage.name in stages:
                continue
            for output in stage.outs:
                output.remove()
                path = Path(output.fs_path)
                path.parent.mkdir(parents=True, exist_ok=True)
                # DVC reads the metrics of every experiment.
                path.write_text("{}\n" if path.suffix == ".json" else PLACEHOLDER, encoding="utf-8", newline="\n")
                output.save()
                output.commit()
            stage.deps = []  # parameters are among them
            stage.dump(update_pipeline=False)
