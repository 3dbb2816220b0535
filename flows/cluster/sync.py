"""The exchange of inputs and results through git and DVC remotes.

The reference of an experiment on the git remote is pushed last, when the DVC remote has every object: no experiment
lacks its model, whatever is killed on the way, and only that reference says that it exists. `dvc exp push` sends the
reference first, and the run cache brings neither train nor evaluate to another clone.
"""

import re
import sys
import time
from pathlib import Path

from filelock import FileLock
from ruamel.yaml import YAML

from flows.repo.commands import run
from flows.repo.git import GitError, commit_of, git, read_blob, repository
from flows.repo.remotes import (
    ANSWER_SECONDS,
    SyncError,
    check_remote_folder,
    compare_with_remote,
    fetch_references,
    find_remotes,
    list_references,
    name_missing,
    push_objects,
    push_reference,
)
from flows.runs.experiments import isolated_worktree, reference
from flows.runs.inputs import READERS, is_in_git, read_inputs, recorded_digest
from tasks.params import ParameterError

PUSH_ATTEMPTS = 3  # at a reference that another may be writing just now
RETRY_SECONDS = 1.0
RAW = "data/raw"
GENERATED = re.compile(r"-[0-9a-f]{8}$")  # ends a name that this project made: a digest, so both are the same run


def fetch_experiments(root: Path) -> dict[str, str]:
    """Fetch the experiments of the git remote; return their commits by name."""
    remote = _list_experiments(root)
    with _locked_references(root):
        listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
        local = dict(line.split() for line in listed.splitlines())
        new = [
            f"+{ref}:{ref}"
            for ref, commit in remote.items()
            if local.get(ref) != commit and (ref not in local or GENERATED.search(ref))
        ]
        if new:
            fetch_references(root, *new)
    return {ref.rsplit("/", 1)[1]: commit for ref, commit in remote.items()}


def is_published(root: Path, name: str) -> bool:
    """Return whether the git remote has an experiment of this name."""
    return bool(_list_experiments(root, name))


def _list_experiments(root: Path, name: str = "*") -> dict[str, str]:
    """List the experiments of the git remote: reference → commit."""
    return {ref: commit for ref, commit in list_references(root, f"refs/exps/*/*/{name}") if ref.count("/") == 4}


def _locked_references(root: Path) -> FileLock:
    return FileLock(repository(root).common / "exps-fetch")


def push_inputs(root: Path, commit: str) -> None:
    """Push a commit, under `refs/study`, and the inputs of its runs."""
    check_remote_folder(root, is_new=not _list_experiments(root))
    with isolated_worktree(root, {}, f"offer-{commit[:12]}", commit) as checkout:
        if targets := _input_targets(checkout):
            compare_with_remote(checkout, *targets, limit_seconds=ANSWER_SECONDS)  # which a push has not
            push_objects(checkout, *targets)
    push_reference(root, f"{commit}:refs/study/{commit}")


def remote_head(root: Path) -> str:
    """Return the commit of the git remote's HEAD."""
    if heads := list_references(root, "HEAD"):
        return heads[0][1]
    raise SyncError("the git remote must have a HEAD; received none; `git push`, or name a commit")


def fetch_commit(root: Path, commit: str) -> None:
    """Fetch a commit from the git remote, unless this clone has it."""
    if not re.fullmatch("[0-9a-f]{40}", commit):  # a branch is another commit in each clone
        raise ParameterError(f"commit must be 40 hexadecimal digits; received {commit}; try: git rev-parse {commit}")
    if commit_of(root, commit):
        return
    try:
        with _locked_references(root):
            fetch_references(root, commit)
    except GitError as error:
        push = f"git push {find_remotes(root).git} {commit}:refs/study/{commit}"
        raise SyncError(f"{error}; in a clone that has commit {commit[:7]}: `{push}`") from None


def images_in_git(checkout: Path) -> bool:
    """Return whether git keeps the images; otherwise hosts share `data/raw`."""
    return is_in_git(checkout, read_inputs(checkout)["images"])


def fetch_inputs(checkout: Path) -> None:
    """Fetch a run's inputs from the DVC remote into its checkout."""
    targets = _input_targets(checkout)
    check_remote_folder(checkout)
    if not targets:
        return
    status = compare_with_remote(checkout, *targets, limit_seconds=ANSWER_SECONDS)
    if missing := name_missing(status):
        raise SyncError(
            f"the DVC remote must have {' and '.join(targets)} before a run; it lacks {missing}; check that it is "
            "mounted and the same on all hosts (`dvc remote list`), or, where these files are: "
            f"`dvc push {targets[0]}`"
        )
    for target in targets:
        path = checkout / target.removesuffix(".dvc")
        if path.is_symlink():  # to the host's own file of this name, which may be another one
            path.unlink()
    if status or targets != [RAW] or not images_in_git(checkout):  # otherwise a repro finds it in the cache
        run(checkout, sys.executable, "-m", "dvc", "pull", *targets)


def _input_targets(checkout: Path) -> list[str]:
    """List the DVC targets that a run needs as input."""
    lock = read_blob(checkout, "HEAD", "dvc.lock")
    targets = []
    for slot, path in read_inputs(checkout).items():
        digest, in_git = recorded_digest(lock, slot, path), is_in_git(checkout, path)
        if slot == "images" and digest:
            targets.append(RAW)
        elif not in_git and (slot == "images" or not digest or _tracked_digest(checkout, path) != digest):
            track = f"`dvc add {path}`, " if slot == "backbone" else ""
            raise ParameterError(
                f"the {slot} that git does not keep must be committed as DVC read them, for other hosts to get "
                f"them; received {path}; {track}`dvc repro {READERS[slot]}`, and commit dvc.lock"
                + (f" and {path}.dvc" if track else "")
            )
        elif not in_git:
            targets.append(f"{path}.dvc")
    return targets


def _tracked_digest(checkout: Path, path: str) -> str | None:
    if Path(path).is_absolute() or not (text := read_blob(checkout, "HEAD", f"{path}.dvc")):
        return None
    digest: str | None = YAML(typ="safe").load(text)["outs"][0].get("md5")
    return digest


def publish(checkout: Path, name: str) -> bool:
    """Push a saved experiment: its objects, then its reference.

    Return whether the remote then has an experiment of this name and commit: ours, or that of a faster host.
    """
    check_remote_folder(checkout)
    push_objects(checkout)
    ref = reference(checkout, name)
    for _ in range(PUSH_ATTEMPTS):
        if published := _list_experiments(checkout, name):
            if ref in published:
                with _locked_references(checkout):
                    fetch_references(checkout, f"+{ref}:{ref}")
            return ref in published
        try:
            push_reference(checkout, f"{ref}:{ref}", f"--force-with-lease={ref}:")
        except GitError as error:  # it does not say whether the reference exists or a killed push left it locked
            failure = error
            time.sleep(RETRY_SECONDS)
        else:
            return True
    raise SyncError(f"{failure}; where the git remote is, remove {ref}.lock if no push is running")
