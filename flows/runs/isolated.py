"""An isolated run: worktree, inputs, stages, experiment, and its publication."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.runs import experiments


class ExistsError(RuntimeError):
    """Another run made an experiment of this name."""

    def __init__(self, name: str):
        super().__init__(f"an experiment must have a new name; received {name}, which exists; choose another name")


@dataclass(frozen=True)
class Remote:
    """What a run needs of remotes, which flows/cluster supplies."""

    fetch_commit: Callable[[Path, str], None]
    fetch_inputs: Callable[[Path], None]
    has_images: Callable[[Path], bool]  # otherwise `data/raw` stands for the images, which another machine has
    exists: Callable[[Path, str], bool]
    publish: Callable[[Path, str], bool]  # False where another run published the experiment before


@contextmanager
def isolated_run(
    root: Path,
    name: str,
    overrides: dict[str, Any],
    commit: str = "HEAD",
    remote: Remote | None = None,
    exists: Callable[[Path, str], bool] = lambda root, name: False,
) -> Iterator[Path]:
    """Yield a checkout with inputs, then keep its state as an experiment.

    Parameters
    ----------
    remote : Remote, optional
        Where the inputs come from, and where the experiment is published; default: this clone alone.
    exists : callable
        Whether there is an experiment of this name, which needs no run.

    Raises
    ------
    ExistsError
        If the experiment exists, before the run or after it.
    tasks.params.ParameterError
        If the overrides break a rule of the parameters at that commit.
    RuntimeError, filelock.Timeout
        If the machine, its disk or a remote fails, or every run of this process is being ended.
    """
    if exists(root, name):
        raise ExistsError(name)
    if remote:
        remote.fetch_commit(root, commit)
    with experiments.isolated_worktree(root, overrides, name, commit) as checkout:
        if exists(root, name):  # made by the run that this one waited for
            raise ExistsError(name)
        if remote:
            remote.fetch_inputs(checkout)
        yield checkout
        experiments.save(checkout, name)
        if remote and not remote.publish(checkout, name):
            raise ExistsError(name)
