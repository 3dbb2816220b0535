"""The report's headline: title, first line, and the notes below it."""

from tasks.metrics.scores import SCORES
from tasks.reporting.advice import advise
from tasks.reporting.evaluation import Evaluation
from tasks.reporting.results import Results
from tasks.reporting.templates import percent


def page_title(evaluation: Evaluation, results: Results) -> str:
    """Write the title of the browser's tab."""
    metric = "" if evaluation.primary_metric == "accuracy" else f"{SCORES[evaluation.primary_metric].title} "
    return f"Evaluation: {metric}{percent(results.primary.value)} on test"


def headline(evaluation: Evaluation, results: Results) -> str:
    """Write the first line of the page: the primary metric on test."""
    value, n = percent(results.primary.value), len(evaluation.files["test"])
    images = f"{n:,} {'images' if len(evaluation.groups) else 'test images'}"
    how = ", each by a network that did not learn from it" if len(evaluation.groups) else ""
    if evaluation.primary_metric == "accuracy":
        return f"{value} of {images} are classified right{how}"
    return f"{SCORES[evaluation.primary_metric].title.capitalize()}: {value} on {images}{how}"


def first_words(evaluation: Evaluation, results: Results) -> str:
    """Write headline and notes as lines for a terminal."""
    lines = [f"{headline(evaluation, results)}.", *notes(evaluation, results)]
    return "".join(f"{line}\n" for line in lines).replace("\N{NO-BREAK SPACE}", " ")


def notes(evaluation: Evaluation, results: Results) -> list[str]:
    """Write the baseline, problems of the pictures, and what to do next."""
    findings, (name, score) = evaluation.findings, results.baseline
    no_better = ", and this model is not clearly better" if results.primary.interval[0] <= score else ""
    counts = (len(findings.unreadable), findings.n_duplicates, len(findings.conflicts))
    kinds = (
        "that cannot be read",
        "pairs of duplicates",
        "of these pairs with two labels (correct them, or set normalize.conflicts to leave_out)",
    )
    found = ", ".join(f"{count:,} {kind}" for count, kind in zip(counts, kinds, strict=True) if count)
    lines = [
        describe_folds(evaluation),
        describe_corrections(evaluation),
        f'Always saying "{name}" gives {percent(score)}{no_better}',
        found and f"Found among the pictures: {found}",
        leak_warning(evaluation, results),
        (advice := advise(evaluation, results)) and f"Next: {advice}",
    ]
    return [f"{line}." for line in lines if line]


def describe_corrections(evaluation: Evaluation) -> str | None:
    """Write how many labels people corrected, in all and in test."""
    corrected, n = evaluation.findings.corrected, sum(evaluation.findings.corrected.values())
    in_test = n if len(evaluation.groups) else corrected.get("test", 0)  # folds hold all of them out
    return f"{n:,} label{' was' if n == 1 else 's were'} corrected by hand, {in_test:,} of them in test" if n else None


def describe_folds(evaluation: Evaluation) -> str | None:
    """Write what the folds scored, and how the published model differs."""
    if evaluation.folds is None:
        return None
    n, n_train = evaluation.folds.n, len(evaluation.files["train"])
    if evaluation.folds.split == "validation":
        return f"Validation is what {n} folds held out; the published model learnt from all {n_train:,} training images"
    return (
        f"That is the score of {n} networks. The published model learnt from all {n_train:,} images, so nothing scores "
        "it; expect it to do as they do, or better"
    )


def leak_warning(evaluation: Evaluation, results: Results) -> str | None:
    """Write how many test images leak, and the score without them."""
    leakage = results.leakage
    if leakage is None or not leakage.counts["test"]:
        return None
    warning = f"{count_leaks(leakage.counts['test'], 'test')} a duplicate in training"
    if leakage.score_excluding is None:
        return warning
    return (
        f"{warning}: without them the {SCORES[evaluation.primary_metric].title} is {percent(leakage.score_excluding)}"
    )


def count_leaks(n: int, split: str) -> str:
    """Write the number of leaking images as the subject of a sentence."""
    return f"{n:,} {split} image{' has' if n == 1 else 's have'}"
