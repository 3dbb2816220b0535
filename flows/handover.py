"""What machines hand over to each other, by a git and a DVC remote alone: inputs before a run, its results after.

A machine is a clone with a cache of its own. A reference on the git remote is the commit point: it is pushed last, when
the DVC remote has every object, so that whatever is killed on the way, no experiment lacks its model. "Exists" means
there: an experiment that was saved and not published looks finished to its own clone alone.

Not `dvc exp push`, which sends the reference first, and not the run cache: it brings neither train nor evaluate to
another clone, as `dvc push` leaves out what git keeps.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from ruamel.yaml import YAML

from flows.experiments import STAGES, isolated_worktree, recorded, reference, run, slots
from flows.git import GitError, at, commit_of, git, repository
from tasks.params import ParameterError

ANSWER_SECONDS = 25.0  # for a remote, so that one that is away is named within half a minute
PATIENT_LOCKS = 3  # tries at a reference that another may be writing just now
RAW = "data/raw"
LOST = "do not exist neither locally nor on remote"  # DVC's words for a folder whose list of files is nowhere
QUIET = {"GIT_TERMINAL_PROMPT": "0"}  # a remote that asks for a password gets none
OURS = re.compile(r"-[0-9a-f]{8}$")  # ends the name of what this project made: a digest, so both are the same run

# Writes where DVC would, and asks for what any push needs: an answer, the bucket, and the right to write.
WRITE = """
import sys, tempfile
from dvc.repo import Repo
try:
    remote = Repo().cloud.get_remote(sys.argv[1])
    with tempfile.NamedTemporaryFile() as empty:
        remote.fs.put_file(empty.name, remote.fs.join(remote.path, ".writable"))
except Exception as error:
    sys.exit(f"ERROR: {' '.join(str(error).split()) or type(error).__name__}")
"""


class Remotes(NamedTuple):
    """The names of the two places where machines meet."""

    git: str
    dvc: str


class HandOverError(RuntimeError):
    """Something could not be handed over; the next try may do it."""


def remotes(root: Path) -> Remotes:
    """Find the git remote and the DVC remote that machines share.

    Raises
    ------
    tasks.params.ParameterError
        If one is missing, or a folder's path is relative, which each clone would resolve for itself.
    """
    from dvc.config import Config
    from dvc.config_schema import RelPath

    named = git(root, "remote").split()
    if "origin" not in named and len(named) != 1:
        raise ParameterError(
            f"machines need a git remote named origin, or a single one; received {', '.join(named) or 'none'}; "
            "`git remote add origin URL`"
        )
    settings = Config(str(root / ".dvc"))
    store = settings["core"].get("remote")
    if store is None or store not in settings["remote"]:
        raise ParameterError(
            f"machines need a default DVC remote; received {store or 'none'}; `dvc remote add --default store URL`"
        )
    if isinstance(url := settings["remote"][store]["url"], RelPath):
        raise ParameterError(
            f"the URL of DVC remote {store} must be absolute, since each clone resolves a relative one for itself; "
            f"received one that means {url} here; `dvc remote modify {store} url {url}`"
        )
    return Remotes("origin" if "origin" in named else named[0], store)


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
            _fetch(root, *(f"+{ref}:{ref}" for ref in new))
    return {_name(ref): commit for ref, commit in there.items()}


def is_published(root: Path, name: str) -> bool:
    """Whether the git remote has an experiment of this name, at whichever commit."""
    return any(_name(ref) == name for ref in _listed(root))


def _listed(root: Path) -> dict[str, str]:
    """The commits of the experiments that the git remote has, by reference."""
    lines = _ask(root, "refs/exps/*").splitlines()
    return {ref: commit for commit, ref in (line.split("\t") for line in lines) if ref.count("/") == 4}


def _ask(root: Path, pattern: str) -> str:
    """List references of the git remote, which answers in time or not at all."""
    return git(root, "ls-remote", remotes(root).git, pattern, variables=QUIET, limit_seconds=ANSWER_SECONDS)


def _name(ref: str) -> str:
    return ref.rsplit("/", 1)[1]


def _fetch(root: Path, *refspecs: str) -> None:
    arguments = ("--quiet", "--no-tags", "--no-auto-gc", "--no-write-fetch-head", "--stdin")
    git(root, "fetch", *arguments, remotes(root).git, given="\n".join(refspecs), variables=QUIET)


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
    _refuse_absent_folder(root, ".", is_new)
    with isolated_worktree(root, {}, f"offer-{commit[:12]}", commit, wait_seconds=-1) as checkout:
        targets = _inputs(checkout)
        _refuse_silent(checkout, there.dvc)
        if targets:
            _push(checkout, *targets)
    git(root, "push", "--quiet", there.git, f"{commit}:refs/study/{commit}", variables=QUIET)


def _refuse_silent(checkout: Path, store: str) -> None:
    """Refuse a DVC remote that does not answer in time, or takes nothing."""
    try:
        run(checkout, sys.executable, "-c", WRITE, store, limit_seconds=ANSWER_SECONDS)
    except RuntimeError as error:
        _, found, said = str(error).rpartition("ERROR: ")
        received = said if found else f"no answer within {ANSWER_SECONDS:.0f} s"
        raise HandOverError(
            f"the DVC remote {store} must answer, and take what it is given; received: {received}; `dvc remote list`, "
            "and `dvc remote modify` for its address or keys"
        ) from None


def default_commit(root: Path) -> str:
    """The commit that the git remote's HEAD is at."""
    if not (answer := _ask(root, "HEAD").split()):
        raise HandOverError("the git remote must have a HEAD; received none; `git push`, or name a commit")
    return answer[0]


def receive(root: Path, commit: str) -> None:
    """Fetch a commit that was offered, unless it is here.

    Raises
    ------
    HandOverError
        If the git remote does not have it.
    """
    if re.fullmatch("[0-9a-f]{40}", commit) and commit_of(root, commit):
        return
    try:
        with _bookkeeping(root):
            _fetch(root, commit)
    except GitError as error:
        raise HandOverError(
            f"{error}; where commit {commit[:7]} is: `git push {remotes(root).git} {commit}:refs/study/{commit}`"
        ) from None


def images_in_git(checkout: Path) -> bool:
    """Whether the images of a checkout are what git keeps of them; else `data/raw` stands for them elsewhere."""
    return _in_git(checkout, slots((checkout / "dvc.yaml").read_text(encoding="utf-8"))["images"])


def fetch_inputs(checkout: Path) -> None:
    """Bring the inputs of a run into its checkout, from the DVC remote.

    What the machine has under the same paths may be something else, and is not used.

    Raises
    ------
    HandOverError
        If the remote does not have them, which a folder that is not mounted never says by itself.
    """
    targets = _inputs(checkout)
    _refuse_absent_folder(checkout, "files")
    if not targets:
        return
    found = _status(checkout, *targets, limit_seconds=ANSWER_SECONDS)
    if lacking := _lacking(found):
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
    for slot, path in slots((checkout / "dvc.yaml").read_text(encoding="utf-8")).items():
        digest, in_git = recorded(lock, slot, path), _in_git(checkout, path)
        if slot == "images" and digest:
            targets.append(RAW)
        elif not in_git and (slot == "images" or not digest or _tracked(checkout, path) != digest):
            track = f"`dvc add {path}`, " if slot == "backbone" else ""
            raise ParameterError(
                f"the {slot} that git does not keep must be committed as DVC found them, for other machines to get "
                f"them; received {path}; {track}`dvc repro {STAGES[slot]}`, and commit dvc.lock"
                + (f" and {path}.dvc" if track else "")
            )
        elif not in_git:
            targets.append(f"{path}.dvc")
    return targets


def _in_git(checkout: Path, path: str) -> bool:
    return not Path(path).is_absolute() and git(checkout, "ls-tree", "HEAD", "--", path).startswith("100")  # a file


def _tracked(checkout: Path, path: str) -> str | None:
    """The digest of a file that `dvc add` tracks at HEAD."""
    if Path(path).is_absolute() or not (text := at(checkout, "HEAD", f"{path}.dvc")):
        return None
    digest: str | None = YAML(typ="safe").load(text)["outs"][0].get("md5")
    return digest


def _refuse_absent_folder(root: Path, inside: str, may_be_empty: bool = True) -> None:
    """Refuse a remote in a folder that is not there, such as one that is not mounted: DVC would make it, silently."""
    from dvc.config import Config

    name = remotes(root).dvc
    url: str = Config(str(root / ".dvc"))["remote"][name]["url"]
    folder = Path(url.removeprefix("file://")).expanduser()
    if "://" in url.removeprefix("file://"):
        return
    if not (folder / inside).is_dir():
        raise HandOverError(
            f"the folder of DVC remote {name} must be there, and hold what the study gave it; received {url}; mount it"
            + (f", or, for a new one, `mkdir -p {folder}`" if inside == "." else "")
        )
    if not may_be_empty and not any(folder.iterdir()):
        raise HandOverError(
            f"the folder of DVC remote {name} must hold the experiments that the git remote names; received {url}, "
            "which is empty; mount it, or `dvc push` if it is a new one"
        )


# --- After a run ---------------------------------------------------------------------------------


def publish(checkout: Path, name: str) -> bool:
    """Send what a saved experiment is made of, and then its reference; False where another was faster.

    Raises
    ------
    HandOverError
        If the remote lacks any of it in the end, or another has half written the reference.
    """
    _refuse_absent_folder(checkout, "files")
    _push(checkout)
    ref, there = reference(checkout, name), remotes(checkout).git
    mine = git(checkout, "rev-parse", ref).strip()
    for _ in range(PATIENT_LOCKS):
        listed = {found: commit for found, commit in _listed(checkout).items() if _name(found) == name}
        if listed:
            if ref in listed:
                with _bookkeeping(checkout):
                    _fetch(checkout, f"+{ref}:{ref}")
            return mine in listed.values()
        try:
            git(checkout, "push", "--quiet", f"--force-with-lease={ref}:", there, f"{ref}:{ref}", variables=QUIET)
        except GitError as error:  # its words do not tell one that exists from one that a killed push left locked
            refused = error
            time.sleep(1)
        else:
            return True
    raise HandOverError(f"{refused}; where the git remote is, remove {ref}.lock if no push is going on")


def _push(checkout: Path, *targets: str) -> None:
    """Push to the DVC remote, and look: DVC takes objects that are in no cache for pushed, or warns of them."""
    lacking = ""
    try:
        run(checkout, sys.executable, "-m", "dvc", "push", *targets, fault=LOST)
    except RuntimeError as error:
        if LOST not in str(error):
            raise
        lacking = " and ".join(targets) or "outputs"
    if lacking := lacking or _lacking(_status(checkout, *targets)):
        raise HandOverError(
            f"the DVC remote must have every object of a commit; after `dvc push` it lacks {lacking}, which the cache "
            "does not have either; `dvc pull`, or `dvc repro` where they were made"
        )


def _status(checkout: Path, *targets: str, limit_seconds: float | None = None) -> dict[str, str]:
    """What DVC says of each path that is not both in the cache and on the remote."""
    command = (sys.executable, "-m", "dvc", "status", "--cloud", "--json", *targets)
    found: dict[str, str] = json.loads(run(checkout, *command, limit_seconds=limit_seconds))
    return found


def _lacking(status: dict[str, str]) -> str:
    """The first paths that the remote lacks, in words."""
    paths = [path for path, what in status.items() if what in {"new", "missing"}]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
