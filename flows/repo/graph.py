"""What dvc.yaml declares: the paths of outputs and artifacts."""

from pathlib import Path

from tasks.params import parse


def declared_outputs(root: Path, *kinds: str) -> list[str]:
    """List the outputs of these kinds ("outs", "metrics", "plots")."""
    stages = parse(root / "dvc.yaml")["stages"]
    entries = [entry for stage in stages.values() for kind in kinds for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def artifact(root: Path, name: str) -> str:
    """Return the path that dvc.yaml declares for an artifact."""
    return str(parse(root / "dvc.yaml")["artifacts"][name]["path"])
