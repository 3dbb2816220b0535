"""What a run starts from, and its checks: parameters, images, backbone.

Prefect is not needed for them: the command lines call them before they load it.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows.repo.commands import run
from flows.repo.git import commit_of, git, read_blob, repository
from flows.repo.merges import refuse_unresolved
from tasks.check_images import check_images
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import override, validate

READERS = {"images": "download", "backbone": "train"}  # the stage that reads each input


def check_run(root: Path, overrides: dict[str, Any], accept: bool) -> None:
    """Check that the pipeline can begin; with overrides it starts from HEAD."""
    check_checkout(root)
    if not overrides:
        return
    if accept:  # the worktree of an isolated run starts without outputs
        received = ", ".join(overrides)
        raise ParameterError(f"accept is for runs in the workspace; received overrides, too: {received}; leave one out")
    require_commit(root)
    at_head = parse_text(git(root, "show", f"HEAD:./{PARAMS_FILE}"), f"{PARAMS_FILE} at HEAD")
    validate(override(at_head, overrides), "overrides")
    check_inputs(root)


def require_commit(root: Path) -> None:
    """Refuse isolated runs, which start from a commit, without one."""
    if commit_of(root, "HEAD") is None:
        rule = "an isolated run must start from a commit; this repository has none yet"
        raise ParameterError(f"{rule}; `git add --all && git commit`")


def check_checkout(checkout: Path, overrides: dict[str, Any] | None = None) -> None:
    """Check for unresolved merges, and check dvc.yaml and the parameters."""
    refuse_unresolved(checkout)
    read_inputs(checkout)
    check_images(checkout)
    validate(override(parse(checkout / PARAMS_FILE), overrides or {}), "overrides" if overrides else str(PARAMS_FILE))


def read_inputs(checkout: Path) -> dict[str, str]:
    """Read the paths of a checkout's images and backbone."""
    return parse_inputs((checkout / "dvc.yaml").read_text(encoding="utf-8"))


def parse_inputs(text: str) -> dict[str, str]:
    """Parse the paths in a dvc.yaml: `data/images` for `./data/images/`."""
    variables = parse_variables(text)
    return {name: os.path.normpath(str(variables[name])) for name in READERS if name in variables}


def parse_variables(text: str) -> dict[str, Any]:
    """Parse the variables that a dvc.yaml itself holds."""
    entries: list[Any] = parse_text(text, "dvc.yaml").get("vars") or []
    return {name: value for entry in entries if isinstance(entry, dict) for name, value in entry.items()}


def check_inputs(root: Path) -> None:
    """Check that HEAD's inputs are in git, or as DVC read them.

    An isolated run is named by what HEAD's dvc.lock records of them; a photo that was changed since would go unnoticed.
    """
    require_commit(root)
    project = repository(root).project
    for name, path in read_inputs(root).items():
        stage = READERS[name]
        commit = f"`dvc repro {stage} && git add --all && git commit --message 'Our {name}'`"
        if Path(path).is_relative_to(root.absolute()):  # which no other clone has
            raise ParameterError(
                f"the path of the {name} in dvc.yaml must be relative inside of this project; received {path}; "
                f"write {Path(path).relative_to(root.absolute())}, run {commit}"
            )
        if Path(os.path.normpath(project / path)).parts[:1] == ("..",):  # of a worktree, that is another place
            raise ParameterError(
                f"the {name} in dvc.yaml must be in this repository, or at an absolute path, before an isolated run; "
                f"received {path}; write {os.path.normpath(root.absolute() / path)}, run {commit}"
            )
        if not is_in_git(root, path) and not _is_as_committed(root, name, path):
            raise ParameterError(
                f"{path} must be committed as `dvc repro {stage}` found it before an isolated run; it was changed "
                f"since; run {commit}"
            )


def is_in_git(checkout: Path, path: str) -> bool:
    """Return whether HEAD has a file at a relative path."""
    return not Path(path).is_absolute() and git(checkout, "ls-tree", "HEAD", "--", path).startswith("100")


def recorded_digest(lock: bytes | None, name: str, path: str) -> str | None:
    """Return the MD5 in dvc.lock of the packed images, or the backbone."""
    stage = (YAML(typ="safe").load(lock or b"") or {}).get("stages", {}).get(READERS[name], {})
    files = stage.get("deps", []) if name == "backbone" else stage.get("outs", [])
    digests = [file["md5"] for file in files if name == "images" or os.path.normpath(file["path"]) == path]
    return digests[0] if digests else None


def _is_as_committed(root: Path, name: str, path: str) -> bool:
    lock: bytes | None = None
    with suppress(FileNotFoundError):
        lock = (root / "dvc.lock").read_bytes()
    committed = recorded_digest(read_blob(root, "HEAD", "dvc.lock"), name, path)
    if committed is None or committed != recorded_digest(lock, name, path):
        return False
    stage = READERS[name]
    status = json.loads(run(root, sys.executable, "-m", "dvc", "status", "--json", stage)).get(stage, [])
    changed = {name for entry in status if isinstance(entry, dict) for name in entry.get("changed deps", {})}
    # DVC names what is below its root by the path from there, and everything else by its absolute path.
    return os.path.normpath(root / path) not in {os.path.normpath(root / name) for name in changed}
