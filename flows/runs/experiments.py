"""A git worktree with overrides, and its state as a DVC experiment.

The user's workspace is never touched. The worktree shares DVC's cache, so that what does not depend on the changed
parameters is restored and not computed. It is removed in the end, and the experiment stays. Uncommitted edits are not
in HEAD, and not in the run.

DVC's own `exp save` is not used: it finds no worktree of a submodule, needs the user to have a git identity, and two of
them collide. An experiment is a commit under `refs/exps/`, which git makes by itself; all of `dvc exp` works on it.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from flows.host.capability import describe_host
from flows.repo.git import commit_to_ref, git, repository
from flows.repo.graph import declared_outputs
from flows.repo.merges import refuse_unresolved
from flows.runs.inputs import read_inputs
from flows.runs.processes import shutting_down
from tasks.params import PARAMS_FILE, parse
from tasks.params.document import override, validate
from tasks.run.provenance import MADE_ON
from tasks.training import checkpoints

NULL = "tag:yaml.org,2002:null"
WORKTREES = Path(".dvc/tmp/worktrees")


def name_of(run: str, overrides: dict[str, Any]) -> str:
    """Name an experiment: the run's name, and a digest of its settings.

    DVC refuses to save two different experiments under one name.
    """
    settings = json.dumps(overrides, sort_keys=True).encode()
    # control: name of an experiment
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', run).strip('-')[:80] or 'run'}-{hashlib.sha256(settings).hexdigest()[:8]}"


def check_checkout(checkout: Path, overrides: dict[str, Any] | None = None) -> None:
    """Check for unresolved merges, and check dvc.yaml and the parameters.

    Raises
    ------
    flows.repo.git.GitError, tasks.params.ParameterError
    """
    refuse_unresolved(checkout)
    read_inputs(checkout)
    where = "overrides" if overrides else str(PARAMS_FILE)
    validate(override(parse(checkout / PARAMS_FILE), overrides or {}), where)


def uncommitted(root: Path, *ignored: Path) -> str:
    """List edits that an isolated run does not see, outside some folders."""
    excluded = (f":(exclude){path}" for path in ignored)
    return git(root, "status", "--porcelain", "--untracked-files=no", ".", *excluded)


@contextmanager
def isolated_worktree(root: Path, overrides: dict[str, Any], name: str, commit: str = "HEAD") -> Iterator[Path]:
    """Make a worktree with overrides, and remove it in the end.

    Another run of the same name is waited for, as long as it takes.

    Yields
    ------
    Path
        The project in it, which may be a part of the repository.

    Raises
    ------
    tasks.params.ParameterError
        If the overrides break a rule of the parameters at that commit.
    filelock.Timeout
        If every run of this process is being ended meanwhile.
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
            yaml, params = _layout(), checkout / PARAMS_FILE
            yaml.dump(override(yaml.load(params), overrides), params)
            yield checkout
        finally:
            _remove(root, worktree)


def _remove(root: Path, worktree: Path) -> None:
    """Remove a worktree, and no other, as `git worktree prune` could."""
    with FileLock(worktree.parent / ".git.lock"), suppress(RuntimeError):
        git(root, "worktree", "remove", "--force", "--force", str(worktree))
    shutil.rmtree(worktree, ignore_errors=True)


@contextmanager
def _owned(worktree: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock of a worktree's run, which ends with the process."""
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


def _layout() -> YAML:
    """Make a writer that keeps the layout and comments of params.yaml."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    return yaml


def _share_storage(root: Path, checkout: Path) -> None:
    """Give a checkout the checkpoints, cache and remotes of the root."""
    from dvc.config import Config

    (root / checkpoints.FOLDER).mkdir(exist_ok=True)
    # control: link to the checkpoints
    (checkout / checkpoints.FOLDER).symlink_to((root / checkpoints.FOLDER).absolute())
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
    """Keep a checkout's state as an experiment; a trailer names the machine."""
    files = ["dvc.lock", str(MADE_ON), *declared_outputs(checkout, "metrics", "plots")]
    commit_to_ref(checkout, reference(checkout, name), f"experiment {name}\n\nMachine: {describe_host()}", files)
