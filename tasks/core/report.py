"""The report of an evaluation: predictions in; results, figures and page out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.core import calibration, figures, intervals, page, scores
from tasks.core.calibration import ReliabilityBins
from tasks.core.per_sample import Labels, Probabilities, correct
from tasks.core.scores import ClassScores

ScoreValues = Mapping[str, float | None]  # by the score's name

CALIBRATION_SCORES = ("loss", "brier", "calibration_error")  # those that a temperature changes
SUMMARY_SCORES = ("accuracy", "loss")  # of each split, in the metrics that are compared between commits


class SplitPredictions(NamedTuple):
    """The labels of a split and the model's probabilities for it."""

    y_true: Labels  # of shape (n,)
    y_prob: Probabilities  # of shape (n, n_classes)


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions and its origin, which the report shows."""

    class_names: Sequence[str]
    predictions: Mapping[str, SplitPredictions]  # by split: train, validation where there is one, test
    test_images: NDArray[np.uint8]
    history: figures.History
    has_early_stopping: bool
    parameters: Mapping[str, Any]  # blocks of params.yaml, by name
    digests: Mapping[str, str]  # path → MD5

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights early stopping kept; None where it was off."""
        if not self.has_early_stopping:
            return None
        return int(min(self.history, key=lambda row: row["validation_loss"])["epoch"])


@dataclass(frozen=True)
class Gap:
    """Train accuracy − validation accuracy, with its interval over images."""

    value: float
    interval: intervals.Interval


@dataclass(frozen=True)
class ConfusedPair:
    """A frequent mistake: images of the class `true`, taken for `predicted`."""

    true: str
    predicted: str
    count: int
    support: int  # images of the true class


@dataclass(frozen=True)
class Results:
    """The numbers of the report: on test, where nothing else is said."""

    scores: Mapping[str, ScoreValues]  # by split
    accuracy_interval: intervals.Interval
    gap: Gap | None  # None without a validation split, as is the temperature
    classes: Sequence[ClassScores]
    confusion_matrix: NDArray[np.int64]
    confused: Sequence[ConfusedPair]  # most frequent first
    temperature: float | None
    calibration: Mapping[str, ScoreValues]  # as trained, and at the temperature if there is one
    reliability: Mapping[str, ReliabilityBins]  # likewise


def compute_results(class_names: Sequence[str], predictions: Mapping[str, SplitPredictions]) -> Results:
    """Compute all numbers of the report from the predictions on each split."""
    y_true, y_prob = predictions["test"]
    counts = scores.confusion_matrix(y_true, y_prob)
    temperature = calibration.fit_temperature(*predictions["validation"]) if "validation" in predictions else None
    calibrated = {"as trained": y_prob}
    if temperature is not None:
        calibrated[f"at temperature {temperature:.3f}"] = calibration.apply_temperature(y_prob, temperature)
    return Results(
        scores={split: scores.compute_all(*pair) for split, pair in predictions.items()},
        accuracy_interval=intervals.mean_interval(correct(y_true, y_prob)),
        gap=_gap(predictions),
        classes=scores.per_class(y_true, y_prob, class_names),
        confusion_matrix=counts,
        confused=[
            ConfusedPair(class_names[true], class_names[predicted], count, int(counts[true].sum()))
            for true, predicted, count in scores.most_confused(counts)
        ],
        temperature=temperature,
        calibration={
            name: {score: scores.SCORES[score].compute(y_true, y_prob) for score in CALIBRATION_SCORES}
            for name, y_prob in calibrated.items()
        },
        reliability={name: calibration.reliability_bins(y_true, y_prob) for name, y_prob in calibrated.items()},
    )


def _gap(predictions: Mapping[str, SplitPredictions]) -> Gap | None:
    if "validation" not in predictions:
        return None
    train, validation = (correct(*predictions[split]) for split in ("train", "validation"))
    return Gap(float(train.mean() - validation.mean()), intervals.gap_interval(train, validation))


def summarize(results: Results) -> dict[str, Any]:
    """Select the few numbers that stay comparable between commits: `reports/metrics.json`."""
    summary: dict[str, Any] = {
        split: {name: values[name] for name in SUMMARY_SCORES} for split, values in results.scores.items()
    }
    if results.gap is not None:
        summary["generalization_gap"] = results.gap.value
    return {**summary, "f1": {row.name: row.f1 for row in results.classes}}


def draw_figures(evaluation: Evaluation, results: Results) -> dict[str, str]:
    """Draw the figures of the report: name → SVG."""
    return {
        "curves": figures.learning_curves(evaluation.history, evaluation.kept_epoch),
        "confusion": figures.confusion_matrix(results.confusion_matrix, evaluation.class_names),
        "reliability": figures.reliability(results.reliability),
    }


def render(evaluation: Evaluation, results: Results, svgs: Mapping[str, str]) -> str:
    """Render the page that people read, as HTML."""
    y_true, y_prob = evaluation.predictions["test"]
    return page.render(
        "page.html",
        results=results,
        test=results.scores["test"],
        n_test=len(y_true),
        registry=scores.SCORES,
        classes=sorted(results.classes, key=lambda row: -row.f1),
        calibration_scores=CALIBRATION_SCORES,
        n_bins=calibration.BINS,
        figures=svgs,
        curves_text=describe_curves(evaluation.history, evaluation.kept_epoch),
        kept_epoch=evaluation.kept_epoch,
        mistakes=page.mistakes(evaluation.test_images, y_true, y_prob, evaluation.class_names),
        examples=page.examples(evaluation.test_images, y_true, y_prob, evaluation.class_names),
        parameters=dict(_flatten(evaluation.parameters)),
        digests=evaluation.digests,
    )


def describe_curves(history: figures.History, kept_epoch: int | None = None) -> str:
    """Say how far the model overfits, and since which epoch."""
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


def _flatten(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List parameters by dotted key, each value as params.yaml spells it."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
