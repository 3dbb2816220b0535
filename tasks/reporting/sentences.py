"""The sentences of the report below its headline."""

from tasks.reporting.evaluation import History
from tasks.reporting.headline import count_leaks
from tasks.reporting.results import Leakage
from tasks.reporting.templates import percent


def describe_curves(history: History, best_epoch: int | None = None) -> str:
    """Describe how far the model overfits, and since which epoch."""
    kept = history[-1] if best_epoch is None else history[best_epoch - 1]
    epochs = f"{len(history)} epoch{'s' if len(history) > 1 else ''}"
    if "validation_loss" not in kept:
        return f"{epochs} without a validation split: nothing says how far the model overfits."
    points = f"{100 * kept['generalization_gap']:.1f} points"
    gap = f"After {epochs} the gap is {points}."
    if best_epoch is not None:
        gap = f"Of {epochs}, early stopping kept number {best_epoch}, whose gap is {points}."
    best = min(history, key=lambda row: row["validation_loss"])
    last = history[-1]["validation_loss"]
    if best["validation_loss"] == last:
        return f"{gap} Validation loss is lowest at the end: nothing says that training went on for too long."
    return (
        f"{gap} Validation loss was lowest in epoch {best['epoch']:.0f}, at {best['validation_loss']:.4f}, "
        f"and ended at {last:.4f}."
    )


def describe_leaks(leakage: Leakage, n_test: int) -> str:
    """Describe what leaks."""
    n = leakage.counts["test"]
    sentence = (
        f"{n:,} of {n_test:,} test images {'has' if n == 1 else 'have'} a duplicate in training: the same picture, "
        "a near copy, or another picture of its group."
    )
    if not leakage.counts["validation"]:
        return sentence
    return f"{sentence} {count_leaks(leakage.counts['validation'], 'validation')} one, too."


def describe_temperature(temperature: float | None, unseen: str | None = "validation") -> str:
    """Describe what the fitted temperature says of the model's confidence."""
    if temperature is None:
        return (
            "Without a validation split there is nothing to fit a temperature on, so only the model as trained is "
            "shown."
        )
    if temperature == 1:
        return "The model's confidence is left as it is: no temperature clearly helps images that it was not fitted on."
    verdict = "overconfident" if temperature > 1 else "underconfident"
    return (
        f"The model is {verdict}: dividing its logits by a temperature of {temperature:.3f}, fitted on {unseen}, "
        "gives the lowest loss there. It changes no prediction. The probabilities of pictures on this page are so "
        "corrected, and so are those of tasks.classify."
    )


def describe_doubts(score: float, baseline: float) -> str | None:
    """Write a warning where the model itself is often wrong."""
    if score >= max(0.6, (1 + baseline) / 2):
        return None
    return f"The model reaches only {percent(score)} on test: most of its doubts are mistakes of its own."
