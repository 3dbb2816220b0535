"""Summary of a finished run: scores, hardware and files."""

import json
from pathlib import Path
from typing import Any

from flows.repo.graph import artifact, declared_outputs
from flows.results.provenance import made_elsewhere
from flows.results.tables import table
from tasks.params import parse
from tasks.run.metadata import RUN_INFO, read_notes


def summary(root: Path) -> str:
    """Describe the outputs in `root` as Markdown tables.

    Raises
    ------
    FileNotFoundError
        If the pipeline has not been run there.
    """
    stages = parse(root / "dvc.yaml")["stages"]
    metrics = json.loads((root / artifact(root, "metrics")).read_text(encoding="utf-8"))
    primary = primary_metric(metrics)
    shown = dict.fromkeys((primary, "accuracy"))
    rows = [
        (split, *(f"{scores[name]:.2%}" for name in shown), f"{scores['loss']:.4f}")
        for split, scores in metrics.items()
        if split in {"train", "validation", "test"}
    ]
    lines = table(("split", *(name.replace("_", " ") for name in shown), "loss (nats)"), rows)
    if "generalization_gap" in metrics:
        name = "" if primary == "accuracy" else f" of {primary.replace('_', ' ')}"
        gap = 100 * metrics["generalization_gap"]
        lines += ["", f"generalization gap{name} (train − validation): {gap:.2f} points"]
    if (notes := root / artifact(root, "notes")).exists():  # not for a trial of a study, which has no report
        lines += ["", *notes.read_text(encoding="utf-8").splitlines()]
    if runs := read_notes(root / RUN_INFO):
        ran = [(name, *_ran(runs[name])) for name in stages if name in runs]
        lines += ["", *table(("stage", "time", "ran on"), ran)]
    if elsewhere := made_elsewhere(root):
        lines += ["", f"the model was {elsewhere}"]
    made = [path for path in declared_outputs(root, "outs", "metrics", "plots") if (root / path).exists()]
    lines += ["", "made: " + ", ".join(made)]
    if (root / (page := artifact(root, "report"))).exists():
        lines += ["", f"open {page}"]
    return "\n".join(lines)


def primary_metric(metrics: dict[str, Any]) -> str:
    """Return the score beside accuracy and loss, or accuracy."""
    return next((name for name in metrics.get("test", {}) if name not in {"accuracy", "loss"}), "accuracy")


def _ran(facts: dict[str, Any]) -> tuple[str, str]:
    details = [f"{facts['device']}, {facts['threads']} threads"] if "device" in facts else []
    details += [facts["precision"]] if "precision" in facts else []
    details += [f"{facts['images_per_second']:,} images/s"] if "images_per_second" in facts else []
    if "n_parameters" in facts:
        details += [f"{facts['n_parameters']:,} parameters in {facts['n_bytes'] / 1e6:.1f} MB"]
        details += [f"{facts['milliseconds_per_image']:g} ms an image"]
    speed = facts.get("milliseconds", {})
    details += [f"{name} {times['batch of 1']:g} ms an image on one thread" for name, times in speed.items()]
    details += [facts["source"]] if "source" in facts else []
    return f"{facts['seconds']:,} s", ", ".join(details)
