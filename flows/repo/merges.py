"""Unresolved merges in the files that a run reads."""

from pathlib import Path

from flows.repo.git import GitError, git

GENERATED = ("dvc.lock", "reports")  # a merge may take either side of them
READ = ("params.yaml", "dvc.yaml", "requirements.lock", "libraries.yaml", "flows", "tasks", *GENERATED)


def refuse_unresolved(root: Path) -> None:
    """Raise GitError where files hold conflict markers, with what resolves them."""
    try:
        # control: look for a merge
        files = git(root, "grep", "--files-with-matches", "-I", "-z", "^<<<<<<< ", "--", *READ).split("\0")[:-1]
    except GitError as error:
        if error.stderr:
            raise
        return
    generated = [file for file in files if file.startswith(GENERATED)]
    sources = [file for file in files if file not in generated]
    choose = f"choose in {', '.join(sources)}, then " if sources else ""
    checkout = f"git checkout HEAD -- {' '.join(generated)} && " if generated else ""
    command = f"{checkout}dvc repro && git add {' '.join([*sources, *GENERATED])} && git commit"
    raise GitError(f"{', '.join(files)} must hold one side of a merge; received both; {choose}`{command}`")
