"""Advice: one sentence on what to do next, from the curves and the data.

RULES are in the order in which they are asked, and the first that has something to say is heard: no other change helps
a training that is too short or has too few images. The figures behind them are in docs/data.md (updates),
docs/few-images.md (pretrained weights) and docs/study.md (regularizers).
"""

from math import ceil

from tasks.params.model import PRETRAINED
from tasks.reporting.evaluation import Evaluation
from tasks.reporting.results import Results
from tasks.reporting.templates import percent

FEW_UPDATES, ENOUGH_UPDATES = 200, 500
FEW_IMAGES = 5000  # up to here fine-tuning reached more than training from scratch
FEWEST_TO_FINE_TUNE = 500  # between 200, where the probe reached more, and 1,000
SOLVED = 0.9  # of the primary metric; above, few images are enough, or nobody knows what would help
CLEAR_GAP = 0.05


def advise(evaluation: Evaluation, results: Results) -> str | None:
    """Say what is most likely to help next; None where nothing known is."""
    return next((advice for rule in RULES if (advice := rule(evaluation, results))), None)


def _count_updates(evaluation: Evaluation, results: Results) -> str | None:
    n, n_epochs = len(evaluation.files["train"]), len(evaluation.history)
    updates = n_epochs * ceil(n / evaluation.parameters["train"]["batch_size"])
    if _is_pretrained(evaluation) or updates >= FEW_UPDATES or results.primary.value > SOLVED:
        return None
    batch_size = 16 if n < 1000 else 64
    epochs = ceil(ENOUGH_UPDATES / ceil(n / batch_size))
    few = f"; or start from pretrained weights, as `{_variant(n)}` does: docs/few-images.md" if n <= FEW_IMAGES else ""
    return (
        f"{updates} updates in all are too few: try `train.batch_size: {batch_size}`, `train.epochs: {epochs}` and, "
        f"with sgd, `train.learning_rate: 0.1`{few}"
    )


def _count_images(evaluation: Evaluation, results: Results) -> str | None:
    n = len(evaluation.files["train"])
    if n > FEW_IMAGES or results.primary.value > SOLVED:
        return None
    if not _is_pretrained(evaluation):
        return (
            f"{n:,} training images are few for a network that starts from random weights: `{_variant(n)}` usually "
            "reaches more, see docs/few-images.md"
        )
    if evaluation.parameters["model"]["trainable"] == "head" and n >= FEWEST_TO_FINE_TUNE:
        return f"from {n:,} training images `fine_tune` usually reaches more than a probe, see docs/few-images.md"
    return None


def _is_falling(evaluation: Evaluation, results: Results) -> str | None:
    losses = [row["validation_loss"] for row in evaluation.history if "validation_loss" in row]
    if len(losses) < 2 or losses[-1] > min(losses) or not results.gap or results.gap.value > CLEAR_GAP:
        return None
    before = losses[-1 - ceil(len(losses) / 5)]
    if losses[-1] > 0.95 * before:
        return None
    return (
        f"validation loss is still falling ({before:.3f} → {losses[-1]:.3f}), and the gap is small: more epochs reach "
        f"more, such as `train.epochs: {2 * len(losses)}`"
    )


def _overfits(evaluation: Evaluation, results: Results) -> str | None:
    if not results.gap or results.gap.interval[0] < CLEAR_GAP:
        return None
    train, validation = (results.scores[split][evaluation.primary_metric] for split in ("train", "validation"))
    regularize, augment = evaluation.parameters["regularize"], evaluation.parameters["regularize"]["augment"]
    remedy = "more training images help most"
    if evaluation.parameters["model"]["trainable"] == "all":
        if not regularize["dropout"]:
            remedy = "`regularize.dropout: 0.5` narrows such a gap (docs/study.md)"
        if augment["flip"] == "none" and not augment["translate"] and augment["zoom"] == 1:
            remedy = (
                "`regularize.augment.translate: 2` and, where a mirror image keeps its class, `flip: random` narrow "
                "such a gap most (docs/study.md)"
            )
    return f"training {percent(train or 0)}, validation {percent(validation or 0)}: {remedy}"


def _learns_nothing(evaluation: Evaluation, results: Results) -> str | None:
    if results.primary.interval[0] > results.baseline.value:
        return None
    return "nothing was learned that helps with other images: check the labels, or try a lower `train.learning_rate`"


def _is_pretrained(evaluation: Evaluation) -> bool:
    return evaluation.parameters["model"]["network"] in PRETRAINED


def _variant(n_images: int) -> str:
    return "probe" if n_images < FEWEST_TO_FINE_TUNE else "fine_tune"


RULES = (_count_updates, _count_images, _is_falling, _overfits, _learns_nothing)
