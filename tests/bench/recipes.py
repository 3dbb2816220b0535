"""The accuracy of the committed recipe and of the variant `fast` over seeds, epoch by epoch.

`python -m tests.bench.recipes` runs what docs/recipes.csv lacks, each seed in a fresh process: minutes for a seed
of the default, a quarter of an hour for one of `fast`. A seed that is there with the same parameters is not run again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CURVES = Path("docs/recipes.csv")
COLUMNS = ("variant", "seed", "recipe", "machine", "epoch", "validation_accuracy", "test_accuracy")
SEEDS = {"default": 5, "fast": 3}
BLOCKS = ("normalize", "model", "regularize", "train")

Curve = list[dict[str, Any]]


def blocks(variant: str, overrides: dict[str, Any]) -> Any:
    """params.yaml, or one of its variants, with further differences."""
    from tasks.params import parse
    from tasks.params.document import expand, override, validate

    content = parse(Path("params.yaml"))
    differences = {} if variant == "default" else expand(content, variant)[variant]
    return validate(override(content, {**differences, **overrides}), "bench")


def recipe(variant: str) -> str:
    """A short digest of a variant's parameters, so that figures of another recipe do not count."""
    params = blocks(variant, {}).model_dump(mode="json", include=set(BLOCKS))
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]


def curves(variant: str) -> dict[int, Curve]:
    """The rows of each seed of a variant's present recipe; those of a replaced one do not count."""
    found: dict[int, Curve] = {}
    if CURVES.exists():
        with CURVES.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["variant"], row["recipe"]) == (variant, recipe(variant)):
                    found.setdefault(int(row["seed"]), []).append(row)
    return found


def test_accuracy(curve: Curve) -> float:
    """Of the finished model."""
    return float(curve[-1]["test_accuracy"])


def measure(variant: str, seed: int) -> None:
    """Run a whole training and add its epochs to the file."""
    command = [sys.executable, "-m", "tests.bench.sides", "recipe", f"variant={variant}", f"seed={seed}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    new = not CURVES.exists()
    with CURVES.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for epoch, value in enumerate(found["validation_accuracy"], start=1):
            last = epoch == len(found["validation_accuracy"])
            writer.writerow(
                {
                    "variant": variant,
                    "seed": seed,
                    "recipe": recipe(variant),
                    "machine": found["machine"],
                    "epoch": epoch,
                    "validation_accuracy": f"{value:.4f}",
                    "test_accuracy": f"{found['test_accuracy']:.4f}" if last else "",
                }
            )


def main() -> None:
    """Run the seeds that are missing."""
    for variant, seeds in SEEDS.items():
        for seed in range(seeds):
            if seed not in curves(variant):
                measure(variant, seed)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m tests.bench.recipes", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    main()
