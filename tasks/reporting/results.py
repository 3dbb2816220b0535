"""The numbers of the report, computed from an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics import primary
from tasks.metrics.calibration import ReliabilityBins, reliability_bins
from tasks.metrics.class_counts import ClassScores, confusion_matrix, most_confused, per_class
from tasks.metrics.intervals import ScoreEstimate
from tasks.metrics.predictions import NO_GROUPS, Predicted
from tasks.metrics.scores import SCORES, compute_all
from tasks.reporting.evaluation import Evaluation, Leak
from tasks.reporting.label_issues import LabelIssue, find_doubtful_labels

ScoreValues = Mapping[str, float | None]  # by the score's name

CALIBRATION_SCORES = ("loss", "brier", "calibration_error")  # those that a temperature changes


@dataclass(frozen=True)
class Calibration:
    """Scores and reliability as trained, and at a fitted temperature."""

    temperature: float | None  # None without a validation split
    scores: Mapping[str, ScoreValues]  # by model: as trained, at the temperature
    bins: Mapping[str, ReliabilityBins]  # likewise


class Baseline(NamedTuple):
    """The score of always saying the class with the most training images."""

    name: str  # of the class
    value: float  # the primary metric on test


@dataclass(frozen=True)
class Leakage:
    """The leaking images, and what they add to the test score."""

    counts: Mapping[str, int]  # images with a duplicate in training, by split
    score: float  # on all test images
    score_excluding: float | None  # on those without a duplicate; None if no test image leaks, or all do
    inflation: ScoreEstimate | None  # score − score_excluding; likewise


@dataclass(frozen=True)
class Results:
    """The numbers of the report, on test unless noted otherwise."""

    scores: Mapping[str, ScoreValues]  # by split
    primary: ScoreEstimate
    baseline: Baseline
    gap: ScoreEstimate | None  # of the primary metric: train − validation; None without validation
    leakage: Leakage | None  # None without leaks
    classes: Sequence[ClassScores]
    confusion_matrix: NDArray[np.int64]
    confused: Sequence[Mapping[str, Any]]  # frequent mistakes: {true, predicted, count, of: images of the true class}
    label_issues: Sequence[LabelIssue]  # of all splits, worst first
    calibration: Calibration

    @property
    def ranked(self) -> list[ClassScores]:
        """Sort the classes with test images, lowest F1 first."""
        return sorted((row for row in self.classes if row.support), key=lambda row: row.f1)


def compute_results(evaluation: Evaluation) -> Results:
    """Compute all numbers of the report from the predictions on each split."""
    names, predictions, metric = evaluation.class_names, evaluation.predictions, evaluation.primary_metric
    test, folds = predictions["test"], evaluation.folds
    unseen = predictions[evaluation.unseen] if evaluation.unseen else None
    doubted = {
        split: predicted for split, predicted in evaluation.calibrated.items() if not (folds and split == "train")
    }
    counts, common = confusion_matrix(*test), int(np.bincount(predictions["train"].y_true).argmax())
    always = np.broadcast_to(np.eye(len(names))[common], test.y_prob.shape)
    return Results(
        scores={split: compute_all(*predicted) for split, predicted in predictions.items()},
        primary=primary.estimate(metric, test, evaluation.groups),
        baseline=Baseline(names[common], primary.compute(metric, Predicted(test.y_true, always))),
        gap=primary.gap(metric, predictions["train"], unseen, folds.groups if folds else NO_GROUPS) if unseen else None,
        leakage=measure_leakage(metric, test, evaluation.findings.leaks),
        classes=per_class(*test, names),
        confusion_matrix=counts,
        confused=[
            {"true": names[true], "predicted": names[predicted], "count": count, "of": int(counts[true].sum())}
            for true, predicted, count in most_confused(counts)
        ],
        # With folds, each training image has a prediction of its own.
        label_issues=[
            issue
            for issue in find_doubtful_labels(doubted, evaluation.second)
            if issue.row not in evaluation.judged.get(issue.split, ())
        ],
        calibration=_calibrate(evaluation),
    )


def _calibrate(evaluation: Evaluation) -> Calibration:
    y_true, y_prob = evaluation.predictions["test"]
    models = {"as trained": y_prob}
    if evaluation.temperature not in {None, 1.0}:
        models[f"at temperature {evaluation.temperature:.3f}"] = evaluation.calibrated["test"].y_prob
    return Calibration(
        evaluation.temperature,
        scores={
            model: {name: SCORES[name].compute(y_true, y_prob) for name in CALIBRATION_SCORES}
            for model, y_prob in models.items()
        },
        bins={model: reliability_bins(y_true, y_prob) for model, y_prob in models.items()},
    )


def measure_leakage(name: str, test: Predicted, leaks: Sequence[Leak]) -> Leakage | None:
    """Measure what leaking test images add to a score; None without leaks.

    A model that memorized the duplicate is right for the wrong reason.
    """
    if not leaks:
        return None
    rows = {split: {leak.row for leak in leaks if leak.split == split} for split in ("validation", "test")}
    counts = {split: len(leaking) for split, leaking in rows.items()}
    leaking = np.isin(np.arange(len(test.y_true)), list(rows["test"]))
    score = primary.compute(name, test)
    if leaking.all() or not leaking.any():
        return Leakage(counts, score, None, None)
    excluded, others = (Predicted(test.y_true[chosen], test.y_prob[chosen]) for chosen in (leaking, ~leaking))
    return Leakage(counts, score, *primary.score_excluding(name, excluded, others))
