"""An isolated run: a git worktree at HEAD with other parameters, kept as a DVC experiment.

The user's workspace is never touched. The worktree shares DVC's cache, so that what does not
depend on the changed parameters is restored and not computed; it is removed in the end, and the
experiment stays. Uncommitted edits are not in HEAD, and not in the run.

DVC's own `exp save` is not used: it finds no worktree of a submodule, needs the user to have a git identity, and two of
them collide. An experiment is a commit under `refs/exps/`, which git makes by itself; all of `dvc exp` works on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from flows.host.name import describe_host
from flows.repo.commands import run
from flows.repo.git import commit_to_ref, git, read_blob, repository
from flows.repo.graph import declared_outputs
from flows.repo.merges import refuse_unresolved
from flows.runs.processes import shutting_down
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import override, validate
from tasks.run.provenance import MADE_ON
from tasks.training import checkpoints

NULL = "tag:yaml.org,2002:null"
WORKTREES = Path(".dvc/tmp/worktrees")
STAGES = {"images": "download", "backbone": "train"}  # that reads each slot of dvc.yaml
OWN_SECONDS = 60.0  # for another run to finish sweeping what a killed one left under this name


def name_of(run: str, overrides: dict[str, Any]) -> str:
    """The experiment's name: the run's, and a digest of its settings.

    DVC refuses to save two different experiments under one name.
    """
    settings = json.dumps(overrides, sort_keys=True).encode()
    # control: name of an experiment
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', run).strip('-')[:80] or 'run'}-{hashlib.sha256(settings).hexdigest()[:8]}"


def check(checkout: Path, overrides: dict[str, Any] | None = None) -> None:
    """Check that a checkout can run: git answers, no merge waits, and what people edit is right, overrides in place.

    Raises
    ------
    flows.repo.git.GitError, tasks.params.ParameterError
    """
    refuse_unresolved(checkout)
    slots(checkout)
    where = "overrides" if overrides else str(PARAMS_FILE)
    validate(override(parse(checkout / PARAMS_FILE), overrides or {}), where)


def check_slots(root: Path) -> None:
    """Check that an isolated run finds the images and the backbone of HEAD: those that git keeps, or as DVC knows them.

    A run is named by what HEAD's dvc.lock says of them, and a photo that was changed since would go unnoticed.

    Raises
    ------
    tasks.params.ParameterError
    """
    project = repository(root).project
    for slot, path in slots(root).items():
        stage = STAGES[slot]
        find_and_commit = f"`dvc repro {stage} && git add dvc.yaml dvc.lock && git commit`"
        if Path(path).is_relative_to(root.absolute()):  # which no other clone has
            raise ParameterError(
                f"the path of the {slot} in dvc.yaml must be relative inside of this project; received {path}; "
                f"write {Path(path).relative_to(root.absolute())}, run {find_and_commit}"
            )
        if Path(os.path.normpath(project / path)).parts[:1] == ("..",):  # of a worktree, that is another place
            raise ParameterError(
                f"the {slot} in dvc.yaml must be in this repository, or at an absolute path, before an isolated run; "
                f"received {path}; write {os.path.normpath(root.absolute() / path)}, run {find_and_commit}"
            )
        if is_in_git(root, path):
            continue
        committed, here = (recorded(lock, slot, path) for lock in (read_blob(root, "HEAD", "dvc.lock"), _lock_of(root)))
        if committed is None or committed != here or _has_changed(root, stage, path):
            raise ParameterError(
                f"{path} must be committed as `dvc repro {stage}` found it before an isolated run; it was changed "
                f"since; run {find_and_commit}"
            )


def slots(checkout: Path) -> dict[str, str]:
    """The paths that the first lines of dvc.yaml name, by slot: of the images, and of the backbone."""
    return slots_in((checkout / "dvc.yaml").read_text(encoding="utf-8"))


def slots_in(graph: str) -> dict[str, str]:
    """The paths by slot in the text of a dvc.yaml, as DVC and git write them: `data/images` for `./data/images/`."""
    named: list[dict[str, str]] = parse_text(graph, "dvc.yaml")["vars"]
    return {slot: os.path.normpath(str(path)) for one in named for slot, path in one.items()}


def is_in_git(checkout: Path, path: str) -> bool:
    """Whether HEAD has a file at a path; it has none at an absolute one."""
    return not Path(path).is_absolute() and git(checkout, "ls-tree", "HEAD", "--", path).startswith("100")


def recorded(lock: bytes | None, slot: str, path: str) -> str | None:
    """The digest of what a slot holds, as a dvc.lock has it: of the images as they were packed, or of the backbone."""
    stage = (YAML(typ="safe").load(lock or b"") or {}).get("stages", {}).get(STAGES[slot], {})
    files = stage.get("deps", []) if slot == "backbone" else stage.get("outs", [])
    digests = [file["md5"] for file in files if slot == "images" or os.path.normpath(file["path"]) == path]
    return digests[0] if digests else None


def _lock_of(root: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return (root / "dvc.lock").read_bytes()
    return None


def _has_changed(root: Path, stage: str, path: str) -> bool:
    """Whether DVC finds something else at a path than the stage was run on."""
    found = json.loads(run(root, sys.executable, "-m", "dvc", "status", "--json", stage)).get(stage, [])
    changed = {name for one in found if isinstance(one, dict) for name in one.get("changed deps", {})}
    # DVC names what is below its root by the path from there, and everything else by its absolute path.
    return os.path.normpath(root / path) in {os.path.normpath(root / name) for name in changed}


def uncommitted(root: Path, *but: Path) -> str:
    """The edits that an isolated run does not see, as `git status` lists them; without those in some folders."""
    excluded = (f":(exclude){path}" for path in but)
    return git(root, "status", "--porcelain", "--untracked-files=no", ".", *excluded)


@contextmanager
def isolated_worktree(
    root: Path, overrides: dict[str, Any], name: str, commit: str = "HEAD", wait_seconds: float = OWN_SECONDS
) -> Iterator[Path]:
    """A worktree at a commit with the overrides in its params.yaml; removed at the end, whatever happened.

    Parameters
    ----------
    wait_seconds : float
        For another run of this name to end; below 0 for as long as that takes.

    Yields
    ------
    Path
        The project in it, which may be a part of the repository.

    Raises
    ------
    tasks.params.ParameterError
        If the overrides break a rule of the parameters at that commit.
    filelock.Timeout
        If the other run took longer, or everything here is being ended.
    """
    worktree = root / WORKTREES / name
    checkout = worktree / repository(root).project
    remove_stale_worktrees(root)
    with _owned(worktree, wait_seconds):
        try:
            with FileLock(worktree.parent / ".git.lock"):  # git's own bookkeeping is not made for many at once
                git(root, "worktree", "add", "--force", "--quiet", "--detach", str(worktree), commit)
            check(checkout, overrides)
            _share_storage(root, checkout)
            _link_slots(root, checkout)
            yaml, params = _layout(), checkout / PARAMS_FILE
            yaml.dump(override(yaml.load(params), overrides), params)
            yield checkout
        finally:
            _remove(root, worktree)


def _remove(root: Path, worktree: Path) -> None:
    """Remove a worktree, whether git knows it or not; `git worktree prune` could forget one of the user's, too."""
    with FileLock(worktree.parent / ".git.lock"), suppress(RuntimeError):
        git(root, "worktree", "remove", "--force", "--force", str(worktree))
    shutil.rmtree(worktree, ignore_errors=True)


@contextmanager
def _owned(worktree: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock that shows the run of a worktree to be alive; it ends with the process, killed or not."""
    lock = worktree.with_name(f".{worktree.name}.lock")
    with FileLock(lock).acquire(wait_seconds, cancel_check=shutting_down.is_set):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def remove_stale_worktrees(root: Path) -> None:
    """Remove the worktrees of runs that were killed, and let git forget them."""
    worktrees = root / WORKTREES
    worktrees.mkdir(parents=True, exist_ok=True)
    for left in worktrees.iterdir():
        if left.is_dir():
            with suppress(Timeout), _owned(left):
                _remove(root, left)


def _layout() -> YAML:
    """Writes params.yaml as it is laid out in git, comments included, so that applying an experiment changes little."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    return yaml


def _share_storage(root: Path, checkout: Path) -> None:
    """Give a checkout the root's checkpoints, cache and remotes, which may be local settings or relative paths."""
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


def _link_slots(root: Path, checkout: Path) -> None:
    """Give a checkout the images and the backbone of the root where git does not keep them: links to them."""
    for path in slots(checkout).values():
        if not (Path(path).is_absolute() or (checkout / path).exists()):
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).unlink(missing_ok=True)  # a link that led somewhere from the root alone
            # control: link to a slot
            (checkout / path).symlink_to((root / path).absolute())


def reference(checkout: Path, name: str) -> str:
    """The reference that DVC keeps an experiment of a checkout's HEAD under."""
    baseline = git(checkout, "rev-parse", "HEAD").strip()
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def save(checkout: Path, name: str) -> None:
    """Keep a checkout's state as a DVC experiment of its HEAD; a trailer of its commit names the machine."""
    made = ["dvc.lock", str(MADE_ON), *declared_outputs(checkout, "metrics", "plots")]
    commit_to_ref(checkout, reference(checkout, name), f"experiment {name}\n\nMachine: {describe_host()}", made)
