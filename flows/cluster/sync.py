"""What machines hand over to each other, by a git and a DVC remote alone: inputs before a run, its results after.

A machine is a clone with a cache of its own. A reference on the git remote is the commit point: it is pushed last, when
the DVC remote has every object, so that whatever is killed on the way, no experiment lacks its model. "Exists" means
there: an experiment that was saved and not published looks finished to its own clone alone.

Not `dvc exp push`, which sends the reference first, and not the run cache: it brings neither train nor evaluate to
another clone, as `dvc push` leaves out what git keeps.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from ruamel.yaml import YAML

from flows.cluster.remotes import (
    ANSWER_SECONDS,
    QUIET,
    HandOverError,
    ask,
    cloud_status,
    fetch,
    lacking_in,
    push,
    refuse_absent_folder,
    refuse_silent,
    remotes,
)
from flows.repo.commands import run
from flows.repo.git import GitError, at, commit_of, git, repository
from flows.runs.experiments import isolated_worktree, reference
from flows.runs.inputs import READERS, is_in_git, read_inputs, recorded_digest
from tasks.params import ParameterError

PATIENT_LOCKS = 3  # tries at a reference that another may be writing just now
RAW = "data/raw"
OURS = re.compile(r"-[0-9a-f]{8}$")  # ends the name of what this project made: a digest, so both are the same run


# --- Experiments on the git remote ----------------------------------------------------------------


def published(root: Path) -> dict[str, str]:
    """Fetch the experiments that the git remote has; their commits, by name.

    One that this clone has otherwise and that a person named stays as it is here.
    """
    there = _listed(root)
    with _bookkeeping(root):
        listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
        here = dict(line.split() for line in listed.splitlines())
        new = [
            ref for ref, commit in there.items() if here.get(ref) != commit and (ref not in here or OURS.search(ref))
        ]
        if new:
            fetch(root, *(f"+{ref}:{ref}" for ref in new))
    return {_name(ref): commit for ref, commit in there.items()}


def is_published(root: Path, name: str) -> bool:
    """Whether the git remote has an experiment of this name, at whichever commit."""
    return bool(_listed(root, name))


def is_published_of_head(checkout: Path, name: str) -> bool:
    """Whether the git remote has an experiment of this name that began at a checkout's HEAD."""
    return reference(checkout, name) in _listed(checkout, name)


def _listed(root: Path, name: str = "*") -> dict[str, str]:
    """The commits of the experiments that the git remote has, all or those of a name, by reference."""
    lines = ask(root, f"refs/exps/*/*/{name}").splitlines()
    return {ref: commit for commit, ref in (line.split("\t") for line in lines) if ref.count("/") == 4}


def _name(ref: str) -> str:
    return ref.rsplit("/", 1)[1]


@contextmanager
def _bookkeeping(root: Path) -> Iterator[None]:
    """Be alone at git's references, as two that write the same one at once fail."""
    with FileLock(repository(root).common / "exps-fetch"):
        yield


# --- Before a run --------------------------------------------------------------------------------


def offer(root: Path, commit: str) -> None:
    """Give the remotes what runs of a commit need: their inputs and the commit itself, under `refs/study`.

    Raises
    ------
    tasks.params.ParameterError
        If an input is one that cannot be handed over.
    RuntimeError
        If a remote does not answer, is another one than it was, or does not take what it is given.
    """
    there = remotes(root)
    is_new = not _listed(root)
    refuse_absent_folder(root, ".", is_new)
    with isolated_worktree(root, {}, f"offer-{commit[:12]}", commit) as checkout:
        targets = _inputs(checkout)
        refuse_silent(checkout, there.dvc)
        if targets:
            push(checkout, *targets)
    git(root, "push", "--quiet", there.git, f"{commit}:refs/study/{commit}", variables=QUIET)


def default_commit(root: Path) -> str:
    """The commit that the git remote's HEAD is at."""
    if not (answer := ask(root, "HEAD").split()):
        raise HandOverError("the git remote must have a HEAD; received none; `git push`, or name a commit")
    return answer[0]


def receive(root: Path, commit: str) -> None:
    """Fetch a commit that was offered, unless it is here.

    Raises
    ------
    tasks.params.ParameterError
        If it is not named by its digest: a branch is another commit in each clone.
    HandOverError
        If the git remote does not have it.
    """
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise ParameterError(f"commit must be 40 hexadecimal digits; received {commit}; try: git rev-parse {commit}")
    if commit_of(root, commit):
        return
    try:
        with _bookkeeping(root):
            fetch(root, commit)
    except GitError as error:
        raise HandOverError(
            f"{error}; where commit {commit[:7]} is: `git push {remotes(root).git} {commit}:refs/study/{commit}`"
        ) from None


def images_in_git(checkout: Path) -> bool:
    """Whether the images of a checkout are what git keeps of them; else `data/raw` stands for them elsewhere."""
    return is_in_git(checkout, read_inputs(checkout)["images"])


def fetch_inputs(checkout: Path) -> None:
    """Bring the inputs of a run into its checkout, from the DVC remote.

    What the machine has under the same paths may be something else, and is not used.

    Raises
    ------
    HandOverError
        If the remote does not have them, which a folder that is not mounted never says by itself.
    """
    targets = _inputs(checkout)
    refuse_absent_folder(checkout, "files")
    if not targets:
        return
    found = cloud_status(checkout, *targets, limit_seconds=ANSWER_SECONDS)
    if lacking := lacking_in(found):
        raise HandOverError(
            f"the DVC remote must have {' and '.join(targets)} before a run; it lacks {lacking}; see that it is "
            f"mounted and the same on all machines (`dvc remote list`), or, where they are: `dvc push {targets[0]}`"
        )
    for target in targets:
        path = checkout / target.removesuffix(".dvc")
        if path.is_symlink():
            path.unlink()
    if found or targets != [RAW] or not images_in_git(checkout):  # else a repro finds it in the cache
        run(checkout, sys.executable, "-m", "dvc", "pull", *targets)


def _inputs(checkout: Path) -> list[str]:
    """What DVC hands over of a checkout's inputs, as its targets."""
    lock = at(checkout, "HEAD", "dvc.lock")
    targets = []
    for slot, path in read_inputs(checkout).items():
        digest, in_git = recorded_digest(lock, slot, path), is_in_git(checkout, path)
        if slot == "images" and digest:
            targets.append(RAW)
        elif not in_git and (slot == "images" or not digest or _tracked(checkout, path) != digest):
            track = f"`dvc add {path}`, " if slot == "backbone" else ""
            raise ParameterError(
                f"the {slot} that git does not keep must be committed as DVC found them, for other machines to get "
                f"them; received {path}; {track}`dvc repro {READERS[slot]}`, and commit dvc.lock"
                + (f" and {path}.dvc" if track else "")
            )
        elif not in_git:
            targets.append(f"{path}.dvc")
    return targets


def _tracked(checkout: Path, path: str) -> str | None:
    """The digest of a file that `dvc add` tracks at HEAD."""
    if Path(path).is_absolute() or not (text := at(checkout, "HEAD", f"{path}.dvc")):
        return None
    digest: str | None = YAML(typ="safe").load(text)["outs"][0].get("md5")
    return digest


# --- After a run ---------------------------------------------------------------------------------


def publish(checkout: Path, name: str) -> bool:
    """Send what a saved experiment is made of, and then its reference; False where another was faster.

    Raises
    ------
    HandOverError
        If the remote lacks any of it in the end, or another has half written the reference.
    """
    refuse_absent_folder(checkout, "files")
    push(checkout)
    ref, there = reference(checkout, name), remotes(checkout).git
    mine = git(checkout, "rev-parse", ref).strip()
    for _ in range(PATIENT_LOCKS):
        if listed := _listed(checkout, name):
            if ref in listed:
                with _bookkeeping(checkout):
                    fetch(checkout, f"+{ref}:{ref}")
            return mine in listed.values()
        try:
            git(checkout, "push", "--quiet", f"--force-with-lease={ref}:", there, f"{ref}:{ref}", variables=QUIET)
        except GitError as error:  # its words do not tell one that exists from one that a killed push left locked
            refused = error
            time.sleep(1)
        else:
            return True
    raise HandOverError(f"{refused}; where the git remote is, remove {ref}.lock if no push is going on")
