"""The git and DVC remotes that hosts share.

DVC reports too little: it creates a folder that is not mounted, counts objects that are in no cache as pushed, and
counts one that a killed push left empty as complete.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

from flows.repo.commands import run
from flows.repo.git import git
from tasks.params import ParameterError

ANSWER_SECONDS = 25.0  # for a remote, so that one that is away is reported within half a minute
NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}  # a remote that asks for a password gets none
EMPTY = hashlib.md5(usedforsecurity=False).hexdigest()  # the object of an empty file
LOST = "do not exist neither locally nor on remote"  # DVC's words for a folder whose list of files is nowhere


class Remotes(NamedTuple):
    """The names of the two remotes."""

    git: str
    dvc: str


class SyncError(RuntimeError):
    """Something could not be sent or fetched; another attempt may succeed."""


def find_git_remote(root: Path) -> str:
    """Find the git remote: origin, or the only one."""
    names = git(root, "remote").split()
    if "origin" not in names and len(names) != 1:
        raise ParameterError(
            f"there must be a git remote named origin, or a single one; received {', '.join(names) or 'none'}; "
            "`git remote add origin URL`"
        )
    return "origin" if "origin" in names else names[0]


def find_remotes(root: Path) -> Remotes:
    """Find the git remote and the DVC remote that hosts share."""
    from dvc.config import Config
    from dvc.config_schema import RelPath

    remote = find_git_remote(root)
    settings = Config(str(root / ".dvc"))
    store = settings["core"].get("remote")
    if store is None or store not in settings["remote"]:
        raise ParameterError(
            f"there must be a default DVC remote; received {store or 'none'}; `dvc remote add --default store URL`"
        )
    if way := next((key for key in ("version_aware", "worktree") if settings["remote"][store].get(key)), ""):
        raise ParameterError(
            f"there must be a DVC remote that names objects by their digests; received {store} with {way}, which "
            "names them by their paths; `dvc remote add --default objects URL` adds another"
        )
    if isinstance(url := settings["remote"][store]["url"], RelPath):
        raise ParameterError(
            f"the URL of DVC remote {store} must be absolute, since each clone resolves a relative one for itself; "
            f"received one that means {url} in this clone; `dvc remote modify {store} url {url}`"
        )
    return Remotes(remote, store)


def list_references(root: Path, pattern: str) -> list[tuple[str, str]]:
    """List references of the git remote with their commits."""
    remote = find_git_remote(root)
    listed = git(root, "ls-remote", remote, pattern, variables=NO_PROMPT, limit_seconds=ANSWER_SECONDS)
    return [(ref, commit) for commit, ref in (line.split("\t") for line in listed.splitlines())]


def fetch_references(root: Path, *refspecs: str) -> None:
    """Fetch references, and nothing that git would fetch beside them."""
    arguments = ("--quiet", "--no-tags", "--no-auto-gc", "--no-write-fetch-head", "--stdin")
    git(root, "fetch", *arguments, find_git_remote(root), given="\n".join(refspecs).encode(), variables=NO_PROMPT)


def push_reference(root: Path, refspec: str, *options: str) -> None:
    """Push a reference to the git remote."""
    git(root, "push", "--quiet", *options, find_git_remote(root), refspec, variables=NO_PROMPT)


def check_remote_folder(root: Path, is_new: bool = False) -> None:
    """Refuse a DVC remote in a folder that is not mounted.

    DVC would create the folder. A remote that is not new holds objects, which a bare mount point does not.
    """
    name, folder = find_remotes(root).dvc, _remote_folder(root)
    if folder is None or (folder if is_new else folder / "files").is_dir():
        return
    objects = "" if is_new else " and hold what was pushed to it"
    raise SyncError(
        f"the folder of DVC remote {name} must be there{objects}; received {folder}; mount it, or, for a new one, "
        f"`mkdir -p {folder / 'files'}`"
    )


def push_objects(checkout: Path, *targets: str) -> None:
    """Push to the DVC remote, and check that it has every object."""
    _remove_empty_objects(checkout)
    unlisted = ""
    try:
        run(checkout, sys.executable, "-m", "dvc", "push", *targets, fault=LOST)
    except RuntimeError as error:
        if LOST not in str(error):
            raise
        unlisted = " and ".join(targets) or "the files of an output"
    if missing := name_missing(compare_with_remote(checkout, *targets)) or unlisted:
        raise SyncError(
            f"the DVC remote must have every object of a commit; after `dvc push` it lacks {missing}, which the cache "
            "does not have either; `dvc pull`, or `dvc repro` where they were made"
        )


def _remote_folder(root: Path) -> Path | None:
    from dvc.config import Config

    url: str = Config(str(root / ".dvc"))["remote"][find_remotes(root).dvc]["url"].removeprefix("file://")
    return None if "://" in url else Path(url).expanduser()


def _remove_empty_objects(checkout: Path) -> None:
    """Remove empty objects of a killed push, which DVC counts as pushed.

    An object that another host is writing is not empty for a second.
    """
    if (folder := _remote_folder(checkout)) is None:
        return

    def find_empty() -> set[Path]:
        objects = (folder / "files/md5").glob("??/*")
        return {path for path in objects if path.name != EMPTY and path.exists() and not path.stat().st_size}

    if empty := find_empty():
        time.sleep(1)
        for path in empty & find_empty():
            path.unlink(missing_ok=True)


def compare_with_remote(checkout: Path, *targets: str, limit_seconds: float | None = None) -> dict[str, str]:
    """Return DVC's status of paths that cache or remote lack."""
    command = (sys.executable, "-m", "dvc", "status", "--cloud", "--json", *targets)
    try:
        status: dict[str, str] = json.loads(run(checkout, *command, limit_seconds=limit_seconds))
    except RuntimeError as error:
        received = str(error).rpartition("ERROR: ")[2]
        raise SyncError(
            f"the DVC remote {find_remotes(checkout).dvc} must answer; received: {received}; `dvc remote list`, and "
            "`dvc remote modify` for its address or keys"
        ) from None
    return status


def name_missing(status: dict[str, str]) -> str:
    """Name the first paths that the remote lacks."""
    paths = [path for path, state in status.items() if state in {"new", "missing"}]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
