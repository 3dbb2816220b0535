"""What an evaluation found: predictions and learning curves in, numbers, drawings and the page out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core import figures, page, scores

Scored = tuple[NDArray[Any], NDArray[Any]]  # labels of shape (n,), probabilities of shape (n, n_classes)
SUMMARIZED = ("accuracy", "loss")  # of each split, in the metrics that are compared between commits


@dataclass(frozen=True)
class Evaluation:
    """A model on its splits, and how it came to be."""

    names: Sequence[str]  # of the classes
    splits: Mapping[str, Scored]  # test, and train and validation where there is one
    images: NDArray[np.uint8]  # of test
    history: Sequence[Mapping[str, float]]  # rows of reports/history.csv
    has_early_stopping: bool
    parameters: Sequence[Mapping[str, Any]]  # key, value, notebook, differs
    digests: Mapping[str, str]  # path → MD5

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights early stopping kept; None where it was off."""
        if not self.has_early_stopping:
            return None
        return int(min(self.history, key=lambda row: row["validation_loss"])["epoch"])


def findings(names: Sequence[str], splits: Mapping[str, Scored]) -> dict[str, Any]:
    """All that is computed from predictions, by the names that the page and evaluation/scores.json use."""
    labels, probabilities = splits["test"]
    found = {split: scores.everything(*pair) for split, pair in splits.items()}
    temperature = scores.fit_temperature(*splits["validation"]) if "validation" in splits else None
    counts = scores.confusion(labels, probabilities)
    gap = None
    intervals = {"accuracy": scores.interval_of_mean(scores.is_right(labels, probabilities))}
    if "validation" in splits:
        seen, unseen = (scores.is_right(*splits[split]) for split in ("train", "validation"))
        gap = float(seen.mean() - unseen.mean())
        intervals["generalization_gap"] = scores.interval_of_gap(seen, unseen)
    return {
        "splits": found,
        "gap": gap,
        "intervals": intervals,
        "classes": scores.per_class(labels, probabilities, list(names)),
        "confused": [
            {"true": names[true], "predicted": names[predicted], "count": count, "of": int(counts[true].sum())}
            for true, predicted, count in scores.most_confused(counts)
        ],
        "temperature": temperature,
        "calibration": {
            name: {
                score: scores.SCORES[score].compute(labels, those) for score in ("loss", "brier", "calibration_error")
            }
            for name, those in calibrated(probabilities, temperature)
        },
    }


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that stay comparable between commits: `reports/metrics.json`."""
    metrics = {split: {name: values[name] for name in SUMMARIZED} for split, values in found["splits"].items()}
    if found["gap"] is not None:
        metrics["generalization_gap"] = found["gap"]
    return {**metrics, "f1": {row["class"]: row["f1"] for row in found["classes"]}}


def calibrated(probabilities: NDArray[Any], temperature: float | None) -> Iterator[tuple[str, NDArray[Any]]]:
    """The probabilities as the model gives them, and with the temperature if there is one."""
    yield "as trained", probabilities
    if temperature is not None:
        yield f"at temperature {temperature:.3f}", scores.with_temperature(probabilities, temperature)


def drawings(about: Evaluation, found: dict[str, Any]) -> dict[str, str]:
    """The figures by name, as SVG."""
    labels, probabilities = about.splits["test"]
    bins = {name: scores.reliability(labels, those) for name, those in calibrated(probabilities, found["temperature"])}
    return {
        "curves": figures.learning_curves(about.history, about.kept_epoch),
        "confusion": figures.confusion_matrix(scores.confusion(labels, probabilities), about.names),
        "reliability": figures.reliability(bins),
    }


def html(about: Evaluation, found: dict[str, Any], drawn: dict[str, str]) -> str:
    """The page that people read."""
    labels, probabilities = about.splits["test"]
    return page.render(
        "page.html",
        **{**found, "classes": sorted(found["classes"], key=lambda row: -row["f1"])},
        test=found["splits"]["test"],
        n_test=len(labels),
        registry=scores.SCORES,
        n_bins=scores.BINS,
        drawings=drawn,
        verdict=verdict(about.history, about.kept_epoch),
        kept_epoch=about.kept_epoch,
        mistakes=page.mistakes(about.images, labels, probabilities, about.names),
        examples=page.examples(about.images, labels, probabilities, about.names),
        parameters=about.parameters,
        digests=about.digests,
    )


def verdict(history: Sequence[Mapping[str, float]], kept_epoch: int | None = None) -> str:
    """What the learning curves say of the weights that were kept, in a sentence or two."""
    kept = history[-1] if kept_epoch is None else history[kept_epoch - 1]
    epochs = f"{len(history)} epoch{'s' if len(history) > 1 else ''}"
    if "validation_loss" not in kept:
        return f"{epochs} without a validation split: nothing says how far the model overfits."
    points = f"{100 * kept['generalization_gap']:.1f} points"
    gap = f"After {epochs} the gap is {points}."
    if kept_epoch is not None:
        gap = f"Of {epochs}, early stopping kept number {kept_epoch}, whose gap is {points}."
    best = min(history, key=lambda row: row["validation_loss"])
    last = history[-1]["validation_loss"]
    if best["validation_loss"] == last:
        return f"{gap} Validation loss is lowest at the end: nothing says that training went on for too long."
    return (
        f"{gap} Validation loss was lowest in epoch {best['epoch']:.0f}, at {best['validation_loss']:.4f}, "
        f"and ended at {last:.4f}."
    )
