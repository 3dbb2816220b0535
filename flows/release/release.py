"""A release: checks, gate, and tags that are pushed last."""

import json
from collections.abc import Callable
from pathlib import Path

from flows.release.candidate import check, choose_version
from flows.release.registry import open_registry
from flows.repo.commands import redact
from flows.repo.git import git, repository
from flows.repo.graph import artifact
from flows.repo.remotes import find_git_remote
from flows.results.sides import IncomparableError, Side
from flows.results.summary import primary_metric
from flows.results.tables import table
from tasks.params import PARAMS_FILE, ParameterError, load_block
from tasks.params.evaluate import Evaluate
from tasks.params.gate import Gate


def release(root: Path, stage: str | None, base: str | None, gate: Gate, say: Callable[[str], None]) -> str:
    """Release HEAD's model, assign its stage, and return the version."""
    _check_stage(stage)
    with open_registry(root) as registry:
        candidate = choose_version(root, registry.versions, check(root), base, gate)
        say(f"{candidate.version}: {candidate.sentence}")
        if candidate.is_new or stage is not None:
            registry.publish(candidate.commit, candidate.version, stage, f"{candidate.version}: {candidate.sentence}")
        tag = registry.tag(candidate.version)
    say(f"released as {tag}" + (f", in stage {stage}" if stage else ""))
    say(f"anybody with DVC gets it: dvc get --rev '{tag}' {_name_files(root)}")
    augmentation = load_block("evaluate", Evaluate, root / PARAMS_FILE).test_time_augmentation
    if augmentation != "none":
        say(f"note: the scores are with test-time augmentation ({augmentation}), which exported files do not have")
    return candidate.version


def _check_stage(stage: str | None) -> None:
    from gto.constants import assert_name_is_valid
    from gto.exceptions import GTOException

    try:
        if stage is not None:
            assert_name_is_valid(stage)
    except GTOException as error:
        raise ParameterError(f"--stage must be a name of letters, digits, -, _ and /; received {stage!r}") from error


def _name_files(root: Path) -> str:
    """Name the repository and the files in it that `dvc get` brings."""
    url = redact(git(root, "remote", "get-url", find_git_remote(root)).strip())
    if (root / url).exists():  # a relative path is one from here
        url = str((root / url).resolve())
    exports = artifact(root, "exports")
    path = exports if any((root / exports).iterdir()) else artifact(root, "classifier")
    return f"{url} {repository(root).project / path}"


def list_releases(root: Path) -> str:
    """List versions with their stages and scores, the highest first."""
    with open_registry(root) as registry:
        rows = [
            (
                version.name,
                ", ".join(version.stages),
                version.commit[:7],
                *_score(Side(root, version.name, version.commit)),
            )
            for version in registry.versions
        ]
    return "\n".join(table(("version", "stages", "commit", "metric", "test"), rows)) if rows else "no release yet"


def _score(side: Side) -> tuple[str, str]:
    try:
        metrics = json.loads(side.read_artifact("metrics"))
        return (metric := primary_metric(metrics)), f"{metrics['test'][metric]:.4f}"
    except (IncomparableError, ValueError, KeyError):  # files of an earlier commit
        return "", ""
