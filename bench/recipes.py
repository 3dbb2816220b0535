"""Accuracy over seeds, by epoch, of our variants and PyTorch's rival.

`python -m bench.recipes` runs what docs/recipes.csv lacks, each seed in a fresh process of one to fifteen minutes. Rows
of earlier recipes stay, and count for nothing. `seconds` are those of training up to an epoch's end, on the CPU that is
named; compiling counts, scores do not.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.measure import cpu, has_package, run, side
from bench.pytorch import RIVALS as ONE_CYCLE
from bench.pytorch import Rival
from bench.pytorch_record import RECORD, Record

CURVES = Path("docs/recipes.csv")
TEST_COLUMNS = "test_accuracy", "test_accuracy_with_views"  # of the finished model
COLUMNS = (
    "variant", "seed", "recipe", "machine", "cpu", "epoch", "seconds", "validation_accuracy", *TEST_COLUMNS
)  # fmt: skip
RIVALS: dict[str, Rival | Record] = {**ONE_CYCLE, "pytorch_record": RECORD}
SEEDS = {"default": 5, "quick": 5, "fast": 5, **dict.fromkeys(RIVALS, 1)}
# glibc's malloc then keeps freed memory, as in our own training: an epoch of PyTorch takes three quarters as long.
KEEP_FREED = ("env", "MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=2147483647")
BLOCKS = ("normalize", "model", "regularize", "train")

Curve = list[dict[str, Any]]


def blocks(variant: str, overrides: dict[str, Any]) -> Any:
    """Read params.yaml or one of its variants, with overrides."""
    from tasks.params import parse
    from tasks.params.document import expand, override, validate

    content = parse(Path("params.yaml"))
    differences = {} if variant == "default" else expand(content, variant)[variant]
    return validate(override(content, {**differences, **overrides}), "bench")


@cache
def recipe(variant: str) -> str:
    """Compute a short digest of a variant's parameters."""
    if variant in RIVALS:
        params = asdict(RIVALS[variant])
    else:
        params = blocks(variant, {}).model_dump(mode="json", include=set(BLOCKS))
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]


def curves(variant: str) -> dict[int, Curve]:
    """Read the rows of each seed of a variant's present recipe."""
    found: dict[int, Curve] = {}
    if CURVES.exists():
        with CURVES.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["variant"], row["recipe"]) == (variant, recipe(variant)):
                    found.setdefault(int(row["seed"]), []).append(row)
    return found


def accuracy_on_test(curve: Curve, with_views: bool = False) -> float:
    """Read the test accuracy of the finished model."""
    return float(curve[-1][TEST_COLUMNS[with_views]])


def missing() -> Iterator[tuple[str, int]]:
    """List variants and seeds that are not in the file."""
    for seed in range(max(SEEDS.values())):
        for variant, seeds in SEEDS.items():
            if seed < seeds and seed not in curves(variant) and (variant not in RIVALS or has_package(variant)):
                yield variant, seed


def measure(variant: str, seed: int) -> None:
    """Run a whole training, and add its epochs to the file."""
    name = "torch_recipe" if variant in ONE_CYCLE else "recipe"
    of_variant = [*KEEP_FREED, *side("torch_record")] if variant == "pytorch_record" else side(name, variant=variant)
    found = run([*of_variant, f"seed={seed}"])
    new = not CURVES.exists()
    reached = {name: f"{found[name]:.4f}" for name in TEST_COLUMNS if name in found}
    scores, seconds = found["validation_accuracy"], accumulate(found["epoch_seconds"])
    with CURVES.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for epoch, (score, until) in enumerate(zip(scores, seconds, strict=True), start=1):
            writer.writerow(
                {
                    "variant": variant,
                    "seed": seed,
                    "recipe": recipe(variant),
                    "machine": found["machine"],
                    "cpu": cpu(),
                    "epoch": epoch,
                    "seconds": f"{until:.1f}",
                    "validation_accuracy": f"{score:.4f}",
                    **(reached if epoch == len(scores) else {}),
                }
            )


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.recipes", description=(__doc__ or "").splitlines()[0]).parse_args()
    for missing_variant, missing_seed in missing():
        measure(missing_variant, missing_seed)
