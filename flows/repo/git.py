"""What flows ask of git: every question and every hidden commit, in one place.

The project may be a whole repository, a subfolder of one, a submodule or a worktree, and the clone may lack most of
its objects. So git itself is asked where things are, and for the files of commits: unlike DVC's own reading of a
repository it fetches what a partial clone lacks, or says why it cannot.

No hook of the user's runs on what happens behind their back: it would see a worktree that is not theirs, and one that
fails would end the run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")  # control: no hooks
OURS = {"NAME": "pipeline", "EMAIL": "pipeline@localhost"}  # of hidden commits, where the user has no identity
FAULT = re.compile(r"(fatal|error|ERROR): |! \[")  # the latter of a reference that was not taken
SUPPORT = "Having any troubles?"  # DVC ends every error with it
MAX_LINES = 10  # of an error, as a remote that is away has one for each file
MADE = ("dvc.lock", "reports")  # by the pipeline: a merge takes either side of them
READ = ("params.yaml", "dvc.yaml", "requirements.lock", "libraries.yaml", "flows", "tasks", *MADE)


class GitError(RuntimeError):
    """A git command that failed; `said` is what it said, and empty where it only answered no."""

    def __init__(self, message: str, said: str = ""):
        super().__init__(message)
        self.said = said


def git(
    root: Path,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    given: str = "",
    limit_seconds: float | None = None,
) -> str:
    """Run git in a checkout, with the given text as its input.

    Raises
    ------
    GitError
        With what it said, if it fails or takes longer than its limit.
    """
    return _run(root, arguments, variables or {}, given.encode(), limit_seconds).decode(errors="replace")


def _run(
    root: Path,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    given: bytes = b"",
    limit_seconds: float | None = None,
) -> bytes:
    shown = " ".join(takewhile(lambda argument: not argument.startswith("-"), ("git", *arguments)))
    try:
        done = subprocess.run(
            ["git", *NO_HOOKS, *arguments],  # noqa: S607
            cwd=root,
            env={**os.environ, **variables},
            input=given,
            capture_output=True,
            check=False,
            timeout=limit_seconds,
        )
    except subprocess.TimeoutExpired:
        said = f"no answer within {limit_seconds:.0f} s"
        raise GitError(f"`{shown}` must answer in {root.absolute()}; received {said}", said) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise GitError(failure(root, shown, done.returncode, said), said)
    return done.stdout


def failure(root: Path, command: str, status: int, said: str) -> str:
    """One line on a git or DVC that failed: its errors, and the advice that follows them."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and SUPPORT not in line]
    first = next((n for n, line in enumerate(lines) if FAULT.match(line)), max(len(lines) - 1, 0))
    told = "; ".join(lines[first:][:MAX_LINES]).replace(":; ", ": ") or "no output"
    return f"`{command}` must succeed in {root.absolute()}; it ended with {status}: {redact(told)}"


def redact(text: str) -> str:
    """Leave out what follows `://` in an address up to an `@`, and what follows its `?`: passwords and tokens."""
    text = re.sub(r"(?<=://)[^\s/'\"]+@", "", text)
    return re.sub(r"(://[^\s'\"?]*)\?[^\s'\"]*", r"\1", text)


# --- Where things are ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Repository:
    """Where the repository of a project is: its own folder may be a part of it."""

    top: Path
    project: Path  # below `top`
    own: Path  # what git keeps of this checkout, such as its index
    common: Path  # what it shares with its worktrees, such as references


def repository(root: Path) -> Repository:
    """Find the repository that a folder belongs to.

    Raises
    ------
    GitError
        If it belongs to none, or to one that git does not trust.
    """
    asked = ("--show-toplevel", "--show-prefix", "--git-dir", "--git-common-dir")
    top, project, own, common = git(root, "rev-parse", *asked).splitlines()
    return Repository(Path(top), Path(project), (root / own).resolve(), (root / common).resolve())


def commit_of(root: Path, revision: str) -> str | None:
    """The commit that a revision or the name of an experiment stands for; None where there is none."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except GitError as error:
        if error.said:
            raise
    found = git(root, "for-each-ref", "--format=%(objectname)", f"refs/exps/??/*/{revision}").split()
    return found[0] if len(found) == 1 else None


def at(root: Path, commit: str, path: Path | str) -> bytes | None:
    """A file of a commit, by its path from `root`; None where the commit does not have it."""
    if not git(root, "ls-tree", commit, "--", str(path)):
        return None
    return _run(root, ("cat-file", "blob", f"{commit}:./{path}"), {})  # control: paths below the top


def versions(root: Path, paths: list[str], sizes: set[int]) -> Iterator[bytes]:
    """What some files were in all history, that of amended commits included, where it has one of some sizes."""
    everywhere = ("--all", "--reflog", "--full-history")
    objects = _run(root, ("rev-list", "--objects", "--no-object-names", *everywhere, "--", *paths), {})
    listed = (line.split() for line in _run(root, ("cat-file", "--batch-check"), {}, objects).splitlines())
    asked = [name for name, kind, size in listed if kind == b"blob" and int(size) in sizes]
    content, start = _run(root, ("cat-file", "--batch"), {}, b"".join(name + b"\n" for name in asked)), 0
    while start < len(content):  # each after a line that says how long it is
        begin = content.index(b"\n", start) + 1
        end = begin + int(content[start:begin].split()[-1])
        yield content[begin:end]
        start = end + 1


# --- Hidden commits ------------------------------------------------------------------------------


def keep(root: Path, reference: str, message: str, files: list[str]) -> None:
    """Commit the edits in a checkout under a reference, on top of its HEAD, which stays where it is.

    Parameters
    ----------
    files : list of str
        What belongs to it though git may not track it yet; what it ignores does not.
    """
    git(root, "add", "--update", ".")
    if new := git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *files).split("\0")[:-1]:
        git(root, "add", "--", *new)
    tree = git(root, "write-tree").strip()
    commit = git(root, "commit-tree", "-p", "HEAD", "-m", message, tree, variables=_identity(root)).strip()
    git(root, "update-ref", reference, commit)


def _identity(root: Path) -> dict[str, str]:
    """Variables that name an author where the user has not, as in a fresh container."""
    try:
        git(root, "var", "GIT_AUTHOR_IDENT")
        git(root, "var", "GIT_COMMITTER_IDENT")
    except GitError:
        # control: identity of hidden commits
        return {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in OURS.items()}
    return {}


# --- Merges --------------------------------------------------------------------------------------


def unresolved(root: Path) -> list[str]:
    """The files that a run reads and that hold both sides of a merge, whether git still knows of it or not."""
    try:
        # control: look for a merge
        return git(root, "grep", "--files-with-matches", "-I", "-z", "^<<<<<<< ", "--", *READ).split("\0")[:-1]
    except GitError as error:
        if error.said:
            raise
        return []


def resolution(files: list[str]) -> str:
    """What ends a merge: choices are made by hand, and of what the pipeline made either side will do."""
    made = [file for file in files if file.startswith(MADE)]
    chosen = [file for file in files if file not in made]
    edit = f"choose in {', '.join(chosen)}, then " if chosen else ""
    either = f"git checkout HEAD -- {' '.join(made)} && " if made else ""
    return f"{edit}`{either}dvc repro && git add {' '.join([*chosen, *MADE])} && git commit`"


def refuse_unresolved(root: Path) -> None:
    """Raise GitError where a merge waits to be resolved."""
    if files := unresolved(root):
        raise GitError(f"{', '.join(files)} must hold one side of a merge; received both; {resolution(files)}")
