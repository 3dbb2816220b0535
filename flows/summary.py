"""What a finished run achieved, as Markdown: scores, what it ran on, and where its files are.

`python -m flows.summary`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

RUN_FACTS = Path("reports/run.json")  # written by the steps; no output of any stage

OUTPUTS = ("outs", "metrics", "plots")  # the keys of a stage that list what it makes


def summary(root: Path) -> str:
    """Describe the outputs in `root` as Markdown tables.

    Raises
    ------
    FileNotFoundError
        If the pipeline has not been run there.
    """
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    (metrics_path,) = (path for stage in stages.values() for path in _paths(stage.get("metrics", [])))
    metrics = json.loads((root / metrics_path).read_text(encoding="utf-8"))
    rows = [
        (split, f"{scores['accuracy']:.2%}", f"{scores['loss']:.4f}")
        for split, scores in metrics.items()
        if split in {"train", "validation", "test"}
    ]
    lines = _table(("split", "accuracy", "loss (nats)"), rows)
    if "generalization_gap" in metrics:
        lines += ["", f"generalization gap (train − validation): {100 * metrics['generalization_gap']:.2f} points"]
    if facts := _facts(root):
        ran = [(name, *_ran(facts[name])) for name in stages if name in facts]
        lines += ["", *_table(("stage", "time", "ran on"), ran)]
    made = [path for stage in stages.values() for kind in OUTPUTS for path in _paths(stage.get(kind, []))]
    lines += ["", "made: " + ", ".join(made)]
    return "\n".join(lines)


def _paths(outputs: list[Any]) -> list[str]:
    """Paths of a stage's outputs, each of which is a string or a mapping from the path to its options."""
    return [out if isinstance(out, str) else next(iter(out)) for out in outputs]


def _facts(root: Path) -> dict[str, dict[str, Any]]:
    try:
        facts: dict[str, dict[str, Any]] = json.loads((root / RUN_FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return facts


def _ran(facts: dict[str, Any]) -> tuple[str, str]:
    details = [f"{facts['device']}, {facts['threads']} threads"] if "device" in facts else []
    details += [facts["precision"]] if "precision" in facts else []
    details += [f"{facts['images_per_second']:,} images/s"] if "images_per_second" in facts else []
    details += [facts["source"]] if "source" in facts else []
    return f"{facts['seconds']:,} s", ", ".join(details)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return [f"| {line} |" for line in lines]


if __name__ == "__main__":
    try:
        print(summary(Path()))
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} must exist before it can be summed up; run `dvc repro` first")
