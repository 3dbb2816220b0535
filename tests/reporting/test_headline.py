"""The headline holds the primary metric, and warns of leaks."""

import pytest

from tasks.reporting.evaluation import Findings, Leak
from tasks.reporting.headline import headline, leak_warning, page_title
from tasks.reporting.results import compute_results
from tests.support.reports import Page, evaluation, render_page


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("accuracy", "{} of 200 test images are classified right"),
        ("balanced_accuracy", "Balanced accuracy: {} on 200 test images"),
        ("f1_macro", "F1, mean over classes: {} on 200 test images"),
    ],
)
def test_the_primary_metric_leads_the_page(metric: str, words: str) -> None:
    made = evaluation(primary_metric=metric)
    results = compute_results(made)
    value = f"{100 * (results.scores['test'][metric] or 0):.1f}\xa0%"
    assert headline(made, results) == words.format(value)
    assert value in page_title(made, results)
    page = Page(render_page(made))
    assert headline(made, results) in page.words
    low, high = results.primary.interval
    assert f"{value}{100 * low:.1f} to {100 * high:.1f} %" in page.words


@pytest.mark.parametrize(
    ("split", "n", "words"),
    [
        ("test", 1, "1 test image has a duplicate in training: without them the accuracy is "),
        ("test", 50, "50 test images have a duplicate in training: without them the accuracy is "),
        ("test", 200, "200 test images have a duplicate in training"),
        ("validation", 5, None),
    ],
)
def test_test_images_that_leak_are_a_warning(split: str, n: int, words: str | None) -> None:
    made = evaluation(findings=Findings([Leak(split, row, row, "equal pixels") for row in range(n)], [], []))
    warning = leak_warning(made, compute_results(made))
    assert (warning or "").startswith(words or "")
    assert (warning is None) == (words is None)
