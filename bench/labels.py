"""Simulate a person who reviews labels, for docs/labels.md.

`python -m bench.labels` in a clone after `make run`; some 15 minutes. Of 10,000 images of CIFAR-10, 5 % get a wrong
label by a line of corrections. Five folds and a second opinion doubt labels, a simulated reviewer answers the first 600
cards, and the network is scored on CIFAR-10's own test images. Three draws of the wrong labels, three seeds each.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.few_images import BACKBONE, RAW
from bench.project import project
from tasks.datasets.corrections import Correction, write_corrections

N, FLIPPED, CARDS, DRAWS, SEEDS = 10_000, 500, 600, 3, 3
OUT, MODEL, FOLDS, HISTORY = Path("normalized"), Path("model.keras"), Path("folds.npz"), Path("history.csv")
METRICS, PREDICTIONS, DETAILS = Path("metrics.json"), Path("predictions.npz"), Path("details")
LINES = Path("data/corrections.csv")


def main() -> None:
    """Print what the list finds, and what the review wins back."""
    shares: list[list[float]] = []
    scores: dict[str, list[float]] = {}
    for draw in range(DRAWS):
        with project(
            normalize__train_images=N, normalize__seed=draw, normalize__validation_fraction=0.0, train__epochs=10
        ):
            flips, rng = make_flips(draw), np.random.default_rng(draw)
            cards = review(flips, seed=draw)
            found = [
                len({image for image, _ in cards[:n]} & flips.keys()) / FLIPPED for n in (FLIPPED, 3 * FLIPPED // 2)
            ]
            shares.append(found)
            sides = {
                "right labels": {},
                "5 % wrong": flips,
                f"{CARDS} cards answered rightly": answer(flips, cards, 0.0, rng),
                "every tenth answer wrong": answer(flips, cards, 0.1, rng),
            }
            for name, lines in sides.items():
                scores.setdefault(name, []).extend(train_on(lines, seed) for seed in range(SEEDS))
            print(
                f"draw {draw}: found {found}, { ({name: values[-SEEDS:] for name, values in scores.items()}) }",
                flush=True,
            )
    first, more = 100 * np.mean(shares, axis=0)
    print(f"wrong labels in the first {FLIPPED} cards: {first:.0f} %, in the first {3 * FLIPPED // 2}: {more:.0f} %")
    clean, wrong, *answered = (100 * np.array(values) for values in scores.values())
    for name, values in zip(scores, (clean, wrong, *answered), strict=True):
        print(f"{name}: {values.mean():.2f} ± {values.std(ddof=1):.2f} %")
    for name, values in zip(list(scores)[2:], answered, strict=True):
        print(f"{name}: {(values - wrong).mean() / (clean - wrong).mean():.0%} of the loss is won back")


def make_flips(draw: int) -> dict[str, Correction]:
    """Draw training images, and a wrong label for each."""
    from tasks.data import arrays

    rng = np.random.default_rng(draw)
    normalize_with({})
    names, digests = arrays.class_names(OUT), arrays.image_digests(OUT, "train")
    labels, files = arrays.load_split(OUT, "train", 10)[1], arrays.files(OUT, "train")
    flips = {}
    for row in rng.choice(N, FLIPPED, replace=False):
        was, label = names[labels[row]], names[(labels[row] + rng.integers(1, 10)) % 10]
        flips[digests[row]] = Correction(digests[row], files[row], was, label, "relabel", "bench", "")
    return flips


def review(flips: dict[str, Correction], seed: int) -> list[tuple[str, str]]:
    """Judge labels by folds and a second opinion; list images and suggestions."""
    from tasks.data import arrays
    from tasks.report import report
    from tests.support.parameters import edit

    edit(Path("params.yaml"), normalize__folds=5, evaluate__second_opinion=True)
    train_on(flips, seed)
    LINES.unlink()  # as a person would see it: nothing is judged yet
    made = {"predictions_path": PREDICTIONS, "details": DETAILS, "page_path": Path("page.html")}
    report(normalized=OUT, model_path=MODEL, history_path=HISTORY, **made)
    digests = dict(zip(arrays.files(OUT, "validation"), arrays.image_digests(OUT, "validation"), strict=True))
    with (DETAILS / "label_issues.csv").open(encoding="utf-8", newline="") as file:
        cards = [(digests[row["file"]], row["suggested"]) for row in csv.DictReader(file) if row["split"] != "test"]
    edit(Path("params.yaml"), normalize__folds=0, evaluate__second_opinion=False)
    return cards


def answer(
    flips: dict[str, Correction], cards: list[tuple[str, str]], wrong: float, rng: np.random.Generator
) -> dict[str, Correction]:
    """Take the answered flips back; a wrong answer takes the suggestion."""
    left = dict(flips)
    for image, suggested in cards[:CARDS]:
        if rng.random() >= wrong:
            left.pop(image, None)
        elif image in flips and suggested != flips[image].was:
            left[image] = flips[image]._replace(label=suggested)
        elif image not in flips:
            left[image] = Correction(image, "", given(image), suggested, "relabel", "bench", "")
    return left


def given(image: str) -> str:
    """Find the label of a training image by its SHA-256."""
    from tasks.data import arrays

    row = arrays.image_digests(OUT, "train").index(image)
    name: str = arrays.class_names(OUT)[arrays.load_split(OUT, "train", 10)[1][row]]
    return name


def normalize_with(lines: dict[str, Correction]) -> None:
    from tasks.normalize import normalize

    LINES.parent.mkdir(exist_ok=True)
    write_corrections(LINES, lines.values())
    normalize(raw=RAW, normalized=OUT, report_path=Path("dataset.json"), weights=BACKBONE)


def train_on(lines: dict[str, Correction], seed: int) -> float:
    """Train with wrong labels; return the accuracy on test."""
    from tasks.evaluate import evaluate
    from tasks.train import train
    from tests.support.parameters import edit

    edit(Path("params.yaml"), train__seed=seed)
    normalize_with(lines)
    train(normalized=OUT, backbone=BACKBONE, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)
    made: dict[str, Any] = {"metrics_path": METRICS, "predictions_path": PREDICTIONS}
    evaluate(normalized=OUT, weights=BACKBONE, model_path=MODEL, folds_path=FOLDS, **made)
    accuracy: float = json.loads(METRICS.read_text())["test"]["accuracy"]
    return accuracy


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.labels", description=(__doc__ or "").splitlines()[0]).parse_args()
    main()
