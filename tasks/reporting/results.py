"""The report of an evaluation: predictions in; results, figures and page out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics import calibration, primary, scores
from tasks.metrics.calibration import ReliabilityBins
from tasks.metrics.primary import Estimate, Predicted
from tasks.metrics.scores import ClassScores
from tasks.metrics.summarize import MANY_CLASSES
from tasks.reporting import figures, label_issues, leaks, page
from tasks.reporting.gallery import N_CLASSES, Gallery, Picture
from tasks.reporting.label_issues import LabelIssue

ScoreValues = Mapping[str, float | None]  # by the score's name

CALIBRATION_SCORES = ("loss", "brier", "calibration_error")  # those that a temperature changes
N_ISSUES = 24  # shown, of the labels worth a second look
N_TWINS = 12  # pairs
N_CONFLICTS = 20
N_UNREADABLE = 10


@dataclass(frozen=True)
class Findings:
    """What was found wrong with the files before training."""

    twins: Sequence[leaks.Twin]
    conflicts: Sequence[tuple[str, str, str]]  # two files of one picture, and their labels
    unreadable: Sequence[tuple[str, str]]  # a file, and why


class ModelSize(NamedTuple):
    """How large a model is: its weights, and the bytes of its file."""

    n_parameters: int
    n_bytes: int


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions and its origin, which the report shows."""

    class_names: Sequence[str]
    headline: str  # the name of the score that the report is about
    predictions: Mapping[str, Predicted]  # by split: train, validation where there is one, test
    images: Mapping[str, NDArray[np.uint8]]  # by split
    files: Mapping[str, Sequence[str]]  # by split, the name of each image's file
    findings: Findings
    history: figures.History
    has_early_stopping: bool
    parameters: Mapping[str, Any]  # blocks of params.yaml, by name
    digests: Mapping[str, str]  # path → MD5
    model_size: ModelSize

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights early stopping kept; None where it was off."""
        if not self.has_early_stopping:
            return None
        return int(min(self.history, key=lambda row: row["validation_loss"])["epoch"])

    def gallery(self, split: str) -> Gallery:
        """The images of a split, to be shown with what the model said."""
        return Gallery(self.images[split], self.files[split], self.predictions[split], self.class_names)


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
    headline: Estimate
    gap: Estimate | None  # of the headline: train − validation; None without validation, as is the temperature
    leak: leaks.Leak | None  # None where no image has a twin in training
    classes: Sequence[ClassScores]
    confusion_matrix: NDArray[np.int64]
    confused: Sequence[ConfusedPair]  # most frequent first
    label_issues: Sequence[LabelIssue]  # of all splits, worst first
    temperature: float | None
    calibration: Mapping[str, ScoreValues]  # as trained, and at the temperature if there is one
    reliability: Mapping[str, ReliabilityBins]  # likewise

    @property
    def ranked(self) -> list[ClassScores]:
        """The classes with test images, weakest first; without any, nothing is known about a class."""
        return sorted((row for row in self.classes if row.support), key=lambda row: row.f1)


def compute_results(evaluation: Evaluation) -> Results:
    """Compute all numbers of the report from the predictions on each split."""
    class_names, predictions, name = evaluation.class_names, evaluation.predictions, evaluation.headline
    y_true, y_prob = predictions["test"]
    counts = scores.confusion_matrix(y_true, y_prob)
    temperature = calibration.fit_temperature(*predictions["validation"]) if "validation" in predictions else None
    calibrated = {"as trained": y_prob}
    if temperature is not None:
        calibrated[f"at temperature {temperature:.3f}"] = calibration.apply_temperature(y_prob, temperature)
    return Results(
        scores={split: scores.compute_all(*pair) for split, pair in predictions.items()},
        headline=primary.estimate(name, predictions["test"]),
        gap=primary.gap(name, predictions["train"], predictions["validation"]) if "validation" in predictions else None,
        leak=leaks.measure(name, predictions["test"], evaluation.findings.twins),
        classes=scores.per_class(y_true, y_prob, class_names),
        confusion_matrix=counts,
        confused=[
            ConfusedPair(class_names[true], class_names[predicted], count, int(counts[true].sum()))
            for true, predicted, count in scores.most_confused(counts)
        ],
        label_issues=label_issues.find(predictions),
        temperature=temperature,
        calibration={
            name: {score: scores.SCORES[score].compute(y_true, y_prob) for score in CALIBRATION_SCORES}
            for name, y_prob in calibrated.items()
        },
        reliability={name: calibration.reliability_bins(y_true, y_prob) for name, y_prob in calibrated.items()},
    )


def draw_figures(evaluation: Evaluation, results: Results) -> dict[str, str]:
    """Draw the figures of the report: name → SVG."""
    counts = results.confusion_matrix
    drawn = scores.most_confused_classes(counts, MANY_CLASSES)  # with more, the matrix shows so many
    return {
        "curves": figures.learning_curves(evaluation.history, evaluation.kept_epoch),
        "confusion": figures.confusion_matrix(counts, evaluation.class_names, drawn),
        "reliability": figures.reliability(results.reliability),
    }


def render(evaluation: Evaluation, results: Results, svgs: Mapping[str, str]) -> str:
    """Render the page that people read, as HTML."""
    test, findings = evaluation.gallery("test"), evaluation.findings
    labels = list(range(len(evaluation.class_names)))
    if len(labels) > N_CLASSES:
        labels = [evaluation.class_names.index(row.name) for row in results.ranked[:N_CLASSES]]
    return page.render(
        "page.html",
        results=results,
        headline=evaluation.headline,
        test=results.scores["test"],
        n_test=len(test.files),
        registry=scores.SCORES,
        classes=sorted(results.classes, key=lambda row: -row.f1),
        many_classes=MANY_CLASSES,
        calibration_scores=CALIBRATION_SCORES,
        n_bins=calibration.BINS,
        figures=svgs,
        curves_text=describe_curves(evaluation.history, evaluation.kept_epoch),
        kept_epoch=evaluation.kept_epoch,
        mistakes=test.mistakes(),
        examples=test.examples(labels),
        issues=[
            (issue, evaluation.gallery(issue.split).picture(issue.row)) for issue in results.label_issues[:N_ISSUES]
        ],
        twins=_twin_pictures(evaluation),
        n_conflicts=N_CONFLICTS,
        n_unreadable=N_UNREADABLE,
        findings=findings,
        parameters=dict(_flatten(evaluation.parameters)),
        digests=evaluation.digests,
        model_size=evaluation.model_size,
    )


def _twin_pictures(evaluation: Evaluation) -> list[tuple[leaks.Twin, Picture, Picture]]:
    """Show held-out images beside their twins, those of test first, each image once."""
    by_image = {(twin.split, twin.row): twin for twin in reversed(evaluation.findings.twins)}
    shown = sorted(by_image.values(), key=lambda twin: (twin.split, twin.row))[:N_TWINS]
    return [
        (twin, evaluation.gallery(twin.split).picture(twin.row), evaluation.gallery("train").picture(twin.train_row))
        for twin in shown
    ]


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
