"""Git in a checkout: commands, places, files of commits, and hidden commits.

The project may be a subfolder of a repository, a submodule or a worktree, and a partial clone lacks objects: git
itself knows the places, and fetches what is missing, which DVC's own reading of a repository does not.
No hook of the user's runs: it would see a worktree that is not theirs, and a failing one would end the run.
"""

import os
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo.commands import failure

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")  # control: no hooks
DEFAULT_IDENTITY = {"NAME": "pipeline", "EMAIL": "pipeline@localhost"}  # where the user has none


class GitError(RuntimeError):
    """A failed git command; `stderr` is empty for a plain no."""

    def __init__(self, message: str, stderr: str = ""):
        super().__init__(message)
        self.stderr = stderr


def git(root: Path, *arguments: str, **options: Any) -> str:
    """Run git in a checkout, and return its output as text."""
    return git_bytes(root, *arguments, **options).decode(errors="replace")


def git_bytes(
    root: Path,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    given: bytes = b"",
    limit_seconds: float | None = None,
) -> bytes:
    """Run git in a checkout, or raise GitError, also after its limit."""
    command = " ".join(takewhile(lambda argument: not argument.startswith("-"), ("git", *arguments)))
    try:
        done = subprocess.run(
            ["git", *NO_HOOKS, *arguments],  # noqa: S607
            cwd=root,
            env={**os.environ, **(variables or {})},
            input=given,
            capture_output=True,
            check=False,
            timeout=limit_seconds,
        )
    except subprocess.TimeoutExpired:
        fault = f"no answer within {limit_seconds:.0f} s"
        raise GitError(f"`{command}` must answer in {root.absolute()}; received {fault}", fault) from None
    if done.returncode:
        stderr = done.stderr.decode(errors="replace").strip()
        raise GitError(failure(root, command, done.returncode, stderr), stderr)
    return done.stdout


class Repository(NamedTuple):
    """The repository that a project is, or is a part of."""

    top: Path
    project: Path  # below `top`
    own: Path  # what git keeps of this checkout, such as its index
    common: Path  # what it shares with its worktrees, such as references


def repository(root: Path) -> Repository:
    """Find the repository of a folder; GitError where git trusts none."""
    options = ("--show-toplevel", "--show-prefix", "--git-dir", "--git-common-dir")
    top, project, own, common = git(root, "rev-parse", *options).splitlines()
    return Repository(Path(top), Path(project), (root / own).resolve(), (root / common).resolve())


def commit_of(root: Path, revision: str) -> str | None:
    """Return the commit of a revision or an experiment, or None."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except GitError as error:
        if error.stderr:
            raise
    experiments = git(root, "for-each-ref", "--format=%(objectname)", f"refs/exps/??/*/{revision}").split()
    return experiments[0] if len(experiments) == 1 else None


def read_blob(root: Path, commit: str, path: Path | str) -> bytes | None:
    """Read a file of a commit, if the commit has it."""
    if not git(root, "ls-tree", commit, "--", str(path)):
        return None
    return git_bytes(root, "cat-file", "blob", f"{commit}:./{path}")  # control: paths below the top


def commit_to_ref(root: Path, reference: str, message: str, files: list[str]) -> None:
    """Commit edits and new `files` under a reference; leave HEAD alone."""
    git(root, "add", "--update", ".")
    if new := git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *files).split("\0")[:-1]:
        git(root, "add", "--", *new)
    tree = git(root, "write-tree").strip()
    commit = git(root, "commit-tree", "-p", "HEAD", "-m", message, tree, variables=_identity(root)).strip()
    git(root, "update-ref", reference, commit)


def committer(root: Path) -> tuple[str, str]:
    """Return the committer's name and address, as git has them."""
    name, _, rest = git(root, "var", "GIT_COMMITTER_IDENT", variables=_identity(root)).partition(" <")
    return name, rest.partition(">")[0]


def _identity(root: Path) -> dict[str, str]:
    try:
        git(root, "var", "GIT_AUTHOR_IDENT")
        git(root, "var", "GIT_COMMITTER_IDENT")
    except GitError:
        roles = "AUTHOR", "COMMITTER"
        # control: identity of hidden commits
        return {f"GIT_{role}_{key}": value for role in roles for key, value in DEFAULT_IDENTITY.items()}
    return {}
