"""Unresolved merges in the files that a run reads."""

from pathlib import Path

from flows.repo.git import GitError, git

GENERATED = ("dvc.lock", "reports")  # a merge may take either side of them
READ = ("params.yaml", "dvc.yaml", "requirements.lock", "libraries.yaml", "flows", "tasks", *GENERATED)


def unresolved(root: Path) -> list[str]:
    """List the files with conflict markers, also those staged too early."""
    try:
        # control: look for a merge
        return git(root, "grep", "--files-with-matches", "-I", "-z", "^<<<<<<< ", "--", *READ).split("\0")[:-1]
    except GitError as error:
        if error.stderr:
            raise
        return []


def resolution(files: list[str]) -> str:
    """Return the commands that resolve a merge.

    Sources are edited by hand; of generated files either side will do.
    """
    generated = [file for file in files if file.startswith(GENERATED)]
    sources = [file for file in files if file not in generated]
    edit = f"choose in {', '.join(sources)}, then " if sources else ""
    checkout = f"git checkout HEAD -- {' '.join(generated)} && " if generated else ""
    return f"{edit}`{checkout}dvc repro && git add {' '.join([*sources, *GENERATED])} && git commit`"


def refuse_unresolved(root: Path) -> None:
    """Raise GitError where a merge waits to be resolved."""
    if files := unresolved(root):
        raise GitError(f"{', '.join(files)} must hold one side of a merge; received both; {resolution(files)}")
