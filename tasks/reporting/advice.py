"""Advice: one sentence on what to do next, from curves and data.

The first of RULES that applies is heard: nothing else helps a training that is too short or has too few images. Their
figures are those of docs/data.md (updates), docs/few-images.md (pretrained weights) and docs/study.md (regularizers).
"""

from math import ceil

from tasks.params.model import FEWEST_TO_FINE_TUNE, PRETRAINED
from tasks.reporting.evaluation import Evaluation
from tasks.reporting.results import Results
from tasks.reporting.templates import percent

FEW_UPDATES, ENOUGH_UPDATES = 200, 500
FEW_IMAGES = 5000  # up to here fine-tuning reached more than training from scratch
SOLVED = 0.95  # of the primary metric; above, nothing is advised
CLEAR_GAP = 0.05


def advise(evaluation: Evaluation, results: Results) -> str | None:
    """Say what is most likely to help next, if that is known."""
    if results.primary.value > SOLVED:
        return None
    return next(filter(None, (rule(evaluation, results) for rule in RULES)), None)


def _count_images(evaluation: Evaluation, results: Results) -> str | None:
    n, model, train = len(evaluation.files["train"]), evaluation.parameters["model"], evaluation.parameters["train"]
    variant = "probe" if n < FEWEST_TO_FINE_TUNE else "fine_tune"
    few = (
        f"from {n:,} training images {variant} usually reaches more: `python -m flows.start --variant {variant}`"
        if n <= FEW_IMAGES
        else None
    )
    if model["network"] in PRETRAINED:
        return few if (model["trainable"], variant) == ("head", "fine_tune") else None
    updates = len(evaluation.history) * ceil(n / train["batch_size"])
    if updates >= FEW_UPDATES:
        return few
    batch_size = 16 if n < 1000 else 64
    epochs = ceil(ENOUGH_UPDATES / ceil(n / batch_size))
    advice = f"{updates} updates in all are too few: set train.batch_size {batch_size}, train.epochs {epochs}"
    return f"{advice} and, with sgd, train.learning_rate 0.1" + (f"; {few}" if few else "")


def _compare_losses(evaluation: Evaluation, results: Results) -> str | None:
    losses = [row["validation_loss"] for row in evaluation.history if "validation_loss" in row]
    if len(losses) < 2 or not results.gap or results.gap.value > CLEAR_GAP:
        return None
    before, last = losses[-1 - ceil(len(losses) / 5)], losses[-1]
    if last > min(losses) or last > 0.95 * before:
        return None
    return (
        f"validation loss is still falling ({before:.3f} → {last:.3f}) and the gap is small: more epochs reach more, "
        f"such as train.epochs {2 * len(losses)}"
    )


def _compare_scores(evaluation: Evaluation, results: Results) -> str | None:
    if not results.gap or results.gap.interval[0] < CLEAR_GAP:
        return None
    regularize, augment = evaluation.parameters["regularize"], evaluation.parameters["regularize"]["augment"]
    remedy = "more training images help most"
    if evaluation.parameters["model"]["network"] not in PRETRAINED:  # on which the study compared them
        if not regularize["dropout"]:
            remedy = "regularize.dropout 0.5 narrows such a gap (docs/study.md)"
        if augment["flip"] == "none" and not augment["translate"] and augment["zoom"] == 1:
            remedy = (
                "regularize.augment (translate 2, and flip random if mirror images keep their class) narrows it most"
            )
    unseen = evaluation.unseen or ""
    train, validation = (results.scores[split][evaluation.primary_metric] or 0 for split in ("train", unseen))
    return f"training {percent(train)}, {unseen} {percent(validation)}: {remedy}"


RULES = (_count_images, _compare_losses, _compare_scores)
