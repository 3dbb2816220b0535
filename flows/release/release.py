"""A release: checks, gate, and tags that are pushed last."""

import json
from collections.abc import Callable
from pathlib import Path

from flows.release.candidate import check, choose_version
from flows.release.registry import open_registry
from flows.repo.commands import redact
from flows.repo.git import git
from flows.repo.graph import artifact
from flows.repo.remotes import find_remotes
from flows.results.sides import IncomparableError, Side
from flows.results.summary import primary_metric
from flows.results.tables import table
from tasks.params.gate import Gate


def release(root: Path, stage: str | None, base: str | None, gate: Gate, say: Callable[[str], None]) -> str:
    """Release HEAD's model, assign its stage, and return the version."""
    with open_registry(root) as registry:
        candidate = choose_version(root, registry.versions, check(root), base, gate)
        say(f"{candidate.version}: {candidate.sentence}")
        if candidate.is_new or stage:
            registry.publish(candidate.commit, candidate.version, stage, f"{candidate.version}: {candidate.sentence}")
        tag = registry.tag(candidate.version)
    say(f"released as {tag}" + (f", in stage {stage}" if stage else ""))
    url = redact(git(root, "remote", "get-url", find_remotes(root).git).strip())
    exports = artifact(root, "exports")
    path = exports if any((root / exports).iterdir()) else artifact(root, "classifier")
    say(f"anybody with DVC gets it: dvc get --rev '{tag}' {url} {path}")
    return candidate.version


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
