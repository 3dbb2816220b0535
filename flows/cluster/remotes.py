"""The two remotes that machines share: whether they answer, are whole, and take what they are given.

DVC itself says too little: it makes a folder that is not mounted, takes objects that are in no cache for pushed, and
takes one that a killed push left empty for whole.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

from flows.repo.commands import run
from flows.repo.git import git
from tasks.params import ParameterError

ANSWER_SECONDS = 25.0  # for a remote, so that one that is away is named within half a minute
QUIET = {"GIT_TERMINAL_PROMPT": "0"}  # a remote that asks for a password gets none
EMPTY = hashlib.md5(usedforsecurity=False).hexdigest()  # the object of an empty file
LOST = "do not exist neither locally nor on remote"  # DVC's words for a folder whose list of files is nowhere

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


# --- Git's remote ---------------------------------------------------------------------------------


def ask(root: Path, pattern: str) -> str:
    """List references of the git remote, which answers in time or not at all."""
    return git(root, "ls-remote", remotes(root).git, pattern, variables=QUIET, limit_seconds=ANSWER_SECONDS)


def fetch(root: Path, *refspecs: str) -> None:
    """Fetch references, and nothing that git would do beside it."""
    arguments = ("--quiet", "--no-tags", "--no-auto-gc", "--no-write-fetch-head", "--stdin")
    git(root, "fetch", *arguments, remotes(root).git, given="\n".join(refspecs), variables=QUIET)


# --- DVC's remote --------------------------------------------------------------------------------


def refuse_silent(checkout: Path, store: str) -> None:
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


def _folder(root: Path) -> Path | None:
    """The folder of the DVC remote; None where it is something else."""
    from dvc.config import Config

    url: str = Config(str(root / ".dvc"))["remote"][remotes(root).dvc]["url"].removeprefix("file://")
    return None if "://" in url else Path(url).expanduser()


def refuse_absent_folder(root: Path, inside: str, may_be_empty: bool = True) -> None:
    """Refuse a remote in a folder that is not there, such as one that is not mounted: DVC would make it, silently."""
    name, folder = remotes(root).dvc, _folder(root)
    if folder is None:
        return
    if not (folder / inside).is_dir():
        raise HandOverError(
            f"the folder of DVC remote {name} must be there, and hold what the study gave it; received {folder}; "
            "mount it" + (f", or, for a new one, `mkdir -p {folder}`" if inside == "." else "")
        )
    if not may_be_empty and not any(folder.iterdir()):
        raise HandOverError(
            f"the folder of DVC remote {name} must hold the experiments that the git remote names; received {folder}, "
            "which is empty; mount it, or `dvc push` if it is a new one"
        )


def push(checkout: Path, *targets: str) -> None:
    """Push to the DVC remote, and look: DVC takes objects that are in no cache for pushed, or warns of them."""
    _remove_half_written(checkout)
    unknown = ""
    try:
        run(checkout, sys.executable, "-m", "dvc", "push", *targets, fault=LOST)
    except RuntimeError as error:
        if LOST not in str(error):
            raise
        unknown = " and ".join(targets) or "the files of an output"
    if lacking := lacking_in(cloud_status(checkout, *targets)) or unknown:
        raise HandOverError(
            f"the DVC remote must have every object of a commit; after `dvc push` it lacks {lacking}, which the cache "
            "does not have either; `dvc pull`, or `dvc repro` where they were made"
        )


def _remove_half_written(checkout: Path) -> None:
    """Remove objects of a remote in a folder that a killed push left empty.

    DVC makes an object under its final name before it fills it, where the file system can share blocks or might, and
    would take such a one for pushed. One that another machine makes just now is not empty for a second.
    """
    if (folder := _folder(checkout)) is None:
        return

    def empty() -> set[Path]:
        objects = (folder / "files/md5").glob("??/*")
        return {path for path in objects if path.name != EMPTY and path.exists() and not path.stat().st_size}

    if found := empty():
        time.sleep(1)
        for path in found & empty():
            path.unlink(missing_ok=True)


def cloud_status(checkout: Path, *targets: str, limit_seconds: float | None = None) -> dict[str, str]:
    """What DVC says of each path that is not both in the cache and on the remote."""
    command = (sys.executable, "-m", "dvc", "status", "--cloud", "--json", *targets)
    found: dict[str, str] = json.loads(run(checkout, *command, limit_seconds=limit_seconds))
    return found


def lacking_in(status: dict[str, str]) -> str:
    """The first paths that the remote lacks, in words."""
    paths = [path for path, what in status.items() if what in {"new", "missing"}]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
