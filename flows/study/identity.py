"""What decides a trial beside parameters: commands, code, libraries, inputs."""

from pathlib import Path
from typing import Any

from flows.repo.git import git, read_blob
from flows.runs.inputs import parse_inputs, recorded_digest
from flows.runs.trial import TRIAL_STAGES
from tasks.params import parse_text
from tasks.run.libraries import LIBRARIES_FILE

CODE_SUFFIXES = (".py", ".html")  # that .dvcignore lets a folder of code have


def code_at(root: Path, commit: str) -> dict[str, str]:
    """Return a trial's commands, digests of code, and versions of libraries."""
    all_stages = parse_text(read_text(root, commit, "dvc.yaml"), "dvc.yaml")["stages"]
    stages = {name: all_stages[name] for name in TRIAL_STAGES}
    needed = {dep for stage in stages.values() for dep in stage.get("deps", [])}
    blobs = _blobs(root, commit)
    code = {name: stage["cmd"] for name, stage in stages.items()}
    code |= {
        path: blob
        for path, blob in sorted(blobs.items())
        if path in needed or (str(Path(path).parent) in needed and path.endswith(CODE_SUFFIXES))
    }
    names = {name for stage in stages.values() for name in _libraries(stage)}
    versions = parse_text(read_text(root, commit, LIBRARIES_FILE), str(LIBRARIES_FILE)) if names else {}
    return {**code, **{name: str(versions.get(name)) for name in sorted(names)}}


def inputs_at(root: Path, commit: str) -> dict[str, str | None]:
    """Return the digests of a commit's images and backbone."""
    blobs, lock = _blobs(root, commit), read_blob(root, commit, "dvc.lock")
    paths = parse_inputs(read_text(root, commit, "dvc.yaml"))
    return {name: blobs.get(path) or recorded_digest(lock, name, path) for name, path in paths.items()}


def read_text(root: Path, commit: str, path: Path | str) -> str:
    """Read a file of a commit as text."""
    content = read_blob(root, commit, path)
    if content is None:
        raise RuntimeError(f"{path} must be in commit {commit[:7]}; received none; `git add {path} && git commit`")
    return content.decode()


def _libraries(stage: dict[str, Any]) -> list[str]:
    """List the libraries that a stage of dvc.yaml names."""
    files = [entry for entry in stage.get("params", []) if isinstance(entry, dict)]
    return [name for entry in files for name in entry.get(str(LIBRARIES_FILE), [])]


def _blobs(root: Path, commit: str) -> dict[str, str]:
    """Return the blobs of files, not of links, whose targets may change."""
    entries = [line.split("\t", 1) for line in git(root, "ls-tree", "-r", "-z", commit).split("\0")[:-1]]
    return {path: about.split()[2] for about, path in entries if about.startswith("100")}
