"""What a finished run achieved, as Markdown: scores, what it ran on, and where its files are.

`python -m flows.summary`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.git import GitError, refuse_unresolved
from flows.made_elsewhere import made_elsewhere
from tasks.notes import RUN_INFO, read_notes
from tasks.params import ParameterError, parse

OUTPUTS = ("outs", "metrics", "plots")  # the keys of a stage that list what it makes


def summary(root: Path) -> str:
    """Describe the outputs in `root` as Markdown tables.

    Raises
    ------
    FileNotFoundError
        If the pipeline has not been run there.
    ValueError, LookupError, TypeError, AttributeError
        If what it reads is damaged.
    """
    stages = parse(root / "dvc.yaml")["stages"]
    metrics = json.loads((root / artifact(root, "metrics")).read_text(encoding="utf-8"))
    judged = headline(metrics)
    shown = dict.fromkeys((judged, "accuracy"))  # the headline first
    rows = [
        (split, *(f"{scores[name]:.2%}" for name in shown), f"{scores['loss']:.4f}")
        for split, scores in metrics.items()
        if split in {"train", "validation", "test"}
    ]
    lines = table(("split", *(name.replace("_", " ") for name in shown), "loss (nats)"), rows)
    if "generalization_gap" in metrics:
        of = "" if judged == "accuracy" else f" of {judged.replace('_', ' ')}"
        lines += ["", f"generalization gap{of} (train − validation): {100 * metrics['generalization_gap']:.2f} points"]
    if facts := read_notes(root / RUN_INFO):
        ran = [(name, *_ran(facts[name])) for name in stages if name in facts]
        lines += ["", *table(("stage", "time", "ran on"), ran)]
    if said := made_elsewhere(root):
        lines += ["", f"the model was {said}"]
    lines += ["", "made: " + ", ".join(declared_outputs(root, *OUTPUTS))]
    return "\n".join(lines)


def headline(metrics: dict[str, Any]) -> str:
    """The score that a model is judged by: what reports/metrics.json has beside accuracy and loss, or accuracy."""
    return next((name for name in metrics.get("test", {}) if name not in {"accuracy", "loss"}), "accuracy")


def declared_outputs(root: Path, *kinds: str) -> list[str]:
    """The paths that the stages of `root` write, of the given kinds ("outs", "metrics", "plots")."""
    stages = parse(root / "dvc.yaml")["stages"]
    entries = [entry for stage in stages.values() for kind in kinds for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def artifact(root: Path, name: str) -> str:
    """The path that dvc.yaml declares for an artifact."""
    path: str = parse(root / "dvc.yaml")["artifacts"][name]["path"]
    return path


def _ran(facts: dict[str, Any]) -> tuple[str, str]:
    details = [f"{facts['device']}, {facts['threads']} threads"] if "device" in facts else []
    details += [facts["precision"]] if "precision" in facts else []
    details += [f"{facts['images_per_second']:,} images/s"] if "images_per_second" in facts else []
    if "n_parameters" in facts:
        details += [f"{facts['n_parameters']:,} parameters in {facts['n_bytes'] / 1e6:.1f} MB"]
        details += [f"{facts['milliseconds_per_image']:g} ms an image"]
    details += [facts["source"]] if "source" in facts else []
    return f"{facts['seconds']:,} s", ", ".join(details)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a Markdown table, in even columns."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return [f"| {line} |" for line in lines]


def main() -> int:
    """Print the summary; one line instead of a trace for what the user can mend."""
    argparse.ArgumentParser(prog="python -m flows.summary", description=__doc__.splitlines()[0]).parse_args()
    try:
        print(summary(Path()))
        return 0
    except FileNotFoundError as error:
        fault = f"{error.filename} must exist before it can be summed up; run `dvc repro` first"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        fault = str(error) if isinstance(error, ParameterError) else _what_damaged(error)
    print(f"error: {fault}", file=sys.stderr)
    return 1


def _what_damaged(error: Exception) -> str:
    """A merge that waits, where there is one."""
    try:
        refuse_unresolved(Path())
    except GitError as merge:
        return str(merge)
    return f"the metrics must be as DVC wrote them; {error}; `make doctor` restores them"


if __name__ == "__main__":
    sys.exit(main())
