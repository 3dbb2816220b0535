"""An isolated run: a worktree with overrides, kept as an experiment.

The worktree shares DVC's cache, so only what depends on the overrides is computed. `dvc exp save` is not used: it finds
no worktree of a submodule, needs the user to have a git identity, and two of them collide. An experiment is a commit
under `refs/exps/`, which git makes by itself; all of `dvc exp` works on it.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows.host.capability import describe_host
from flows.repo.dvc_internals import files_in_git
from flows.repo.git import commit_to_ref, git, read_blob, repository
from flows.runs.inputs import check_checkout, read_inputs
from flows.runs.parameters import write_settings
from flows.runs.processes import shutting_down
from tasks.params import PARAMS_FILE, parse, parse_text
from tasks.run.kept import FOLDER as KEPT
from tasks.run.metadata import RUN_INFO, read_notes
from tasks.run.provenance import MADE_ON

TRAINED = "Trained-seconds"
WORKTREES = Path(".dvc/tmp/worktrees")


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

    Inputs come from the remote, and the experiment is published there; without one, this clone has both.

    Raises
    ------
    ExistsError
        If the experiment exists, before the run or after it.
    RuntimeError, filelock.Timeout
        If the machine, its disk or a remote fails, or every run of this process is being ended.
    """
    if exists(root, name):
        raise ExistsError(name)
    if remote:
        remote.fetch_commit(root, commit)
    with isolated_worktree(root, overrides, name, commit) as checkout:
        if exists(root, name):  # made by the run that this one waited for
            raise ExistsError(name)
        if remote:
            remote.fetch_inputs(checkout)
        yield checkout
        save(checkout, name)
        if remote and not remote.publish(checkout, name):
            raise ExistsError(name)


def name_of(run: str, overrides: dict[str, Any]) -> str:
    """Name an experiment: the run's name, and a digest of its settings.

    DVC refuses to save two different experiments under one name.
    """
    settings = json.dumps(overrides, sort_keys=True).encode()
    # control: name of an experiment
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', run).strip('-')[:80] or 'run'}-{hashlib.sha256(settings).hexdigest()[:8]}"


def uncommitted(root: Path, *ignored: Path) -> str:
    """List edits outside some folders and the study block, which runs miss."""
    at_head = read_blob(root, "HEAD", PARAMS_FILE)
    both = parse(root / PARAMS_FILE), parse_text((at_head or b"").decode(), f"{PARAMS_FILE} at HEAD")
    if both[0] | {"study": None} == both[1] | {"study": None}:
        ignored = (*ignored, PARAMS_FILE)
    excluded = (f":(exclude){path}" for path in ignored)
    return git(root, "status", "--porcelain", "--untracked-files=no", ".", *excluded)


@contextmanager
def isolated_worktree(root: Path, overrides: dict[str, Any], name: str, commit: str = "HEAD") -> Iterator[Path]:
    """Make a worktree with overrides, and remove it in the end.

    The project is yielded, which may be a part of the repository. Another run of the same name is waited for.
    """
    worktree = root / WORKTREES / name
    checkout = worktree / repository(root).project
    remove_stale_worktrees(root)
    with _owned(worktree, wait_seconds=-1):
        try:
            with FileLock(worktree.parent / ".git.lock"):  # git's own bookkeeping is not made for many at once
                git(root, "worktree", "add", "--force", "--quiet", "--detach", str(worktree), commit)
            check_checkout(checkout, overrides)
            _share_storage(root, checkout)
            _link_inputs(root, checkout)
            params = checkout / PARAMS_FILE
            params.write_text(write_settings(params.read_text(encoding="utf-8"), overrides), encoding="utf-8")
            yield checkout
        finally:
            _remove(root, worktree)


def _remove(root: Path, worktree: Path) -> None:
    """Remove one worktree; `git worktree prune` could remove others."""
    with FileLock(worktree.parent / ".git.lock"), suppress(RuntimeError):
        git(root, "worktree", "remove", "--force", "--force", str(worktree))
    shutil.rmtree(worktree, ignore_errors=True)


@contextmanager
def _owned(worktree: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Hold a worktree's lock, which ends with the process."""
    lock = worktree.with_name(f".{worktree.name}.lock")
    with FileLock(lock).acquire(wait_seconds, cancel_check=shutting_down.is_set):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def remove_stale_worktrees(root: Path) -> None:
    """Remove the worktrees of killed runs."""
    worktrees = root / WORKTREES
    worktrees.mkdir(parents=True, exist_ok=True)
    for worktree in worktrees.iterdir():
        if worktree.is_dir():
            with suppress(Timeout), _owned(worktree):
                _remove(root, worktree)


def _share_storage(root: Path, checkout: Path) -> None:
    """Give a checkout the checkpoints, cache and remotes of the root."""
    from dvc.config import Config

    (root / KEPT).mkdir(exist_ok=True)
    # control: link to the checkpoints
    (checkout / KEPT).symlink_to((root / KEPT).absolute())
    settings = Config(str(root / ".dvc"))
    with Config(str(checkout / ".dvc")).edit("local") as local:  # control: local settings
        local["cache"]["dir"] = str(root / ".dvc" / settings["cache"].get("dir", "cache"))
        local["cache"]["type"] = ["reflink", "hardlink", "symlink", "copy"]  # what is about to go is not copied
        # control: DVC without git in a worktree
        local["core"]["no_scm"] = True  # it would look for the root of a submodule's worktree in the wrong place
        local["core"]["site_cache_dir"] = str(checkout / ".dvc/tmp/site")  # goes with it, where DVC's own would stay
        local["remote"].update(settings["remote"])
        local["core"].update({key: value for key, value in settings["core"].items() if key == "remote"})


def _link_inputs(root: Path, checkout: Path) -> None:
    """Link inputs of the root that are not in git."""
    for path in read_inputs(checkout).values():
        if not (Path(path).is_absolute() or (checkout / path).exists()):
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).unlink(missing_ok=True)  # a link that led somewhere from the root alone
            # control: link to an input
            (checkout / path).symlink_to((root / path).absolute())


def reference(checkout: Path, name: str) -> str:
    """Return the git reference of an experiment of a checkout's HEAD."""
    baseline = git(checkout, "rev-parse", "HEAD").strip()
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def save(checkout: Path, name: str) -> None:
    """Keep a checkout's state as an experiment, with machine and training time."""
    seconds = read_notes(checkout / RUN_INFO).get("train", {}).get("seconds")  # none from the run cache
    trained = f"\n{TRAINED}: {seconds}" if seconds else ""
    files = ["dvc.lock", str(MADE_ON), *files_in_git(checkout)]
    message = f"experiment {name}\n\nMachine: {describe_host()}{trained}"
    commit_to_ref(checkout, reference(checkout, name), message, files)
